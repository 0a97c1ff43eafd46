"""The look of a report's page: light and dark, on a desktop, a phone and paper.

Conventions: colours are few (text, faint text, lines, bands, one accent), and in both themes texts
have a contrast of 4.5 or more. Whatever is wider than the page scrolls in a box of its own, whose
bar and shadows can be seen. Up to 40rem, as on a phone, each row of a table with the class `cards`
is a card. Paper is light, and nothing scrolls there."""

STYLE = """
:root { color-scheme: light dark; --text: #1d2025; --faint: #5b616b; --line: #d9dce1; --back: #fdfdfc;
  --band: #f3f4f2; --accent: #2a62ad; --shadow: #0003; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6ea; --faint: #a0a6b0; --line: #363b43; --back: #15181c; --band: #1d2126;
    --accent: #8ab4ec; --shadow: #fff3; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.1rem 4rem; background: var(--back); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .3rem 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .3rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.9rem 0 .3rem; }
h2, h3 { break-after: avoid; }
p { margin: .4rem 0 .8rem; max-width: 48rem; }
.lead { color: var(--faint); }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 1rem 0 0; padding: 0; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
code { font: .86em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }

.facts { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 48rem); gap: .35rem 1.2rem;
  margin: .8rem 0 1rem; }
.facts dt { color: var(--faint); }
.facts dd { margin: 0; }
.facts dt:first-of-type, .facts dd:first-of-type { font-weight: 600; color: var(--text); }
.missing { padding-left: 1.1rem; max-width: 60rem; }
.missing li { margin: .5rem 0; }
.missing code, .command code, .facts code { display: block; white-space: nowrap; overflow-x: auto; padding: .3rem .5rem;
  background: var(--band); max-width: 60rem; }

.scroll { overflow-x: auto; margin: .4rem 0 .6rem; border-bottom: 1px solid var(--line);
  border-top: 1px solid var(--line); scrollbar-width: thin; scrollbar-color: var(--faint) transparent;
  background: linear-gradient(to left, var(--back) 30%, transparent) right / 3rem 100% no-repeat local,
    linear-gradient(to left, var(--shadow), transparent) right / 1rem 100% no-repeat scroll; }
table { border-collapse: collapse; min-width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; overflow-wrap: normal; }
th, td { padding: .38rem .6rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: .2rem; }
thead th { font-weight: 600; color: var(--faint); border-bottom: 1px solid var(--line); vertical-align: bottom; }
tbody tr { break-inside: avoid; }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--line) 55%, transparent); }
.n { text-align: right; }
td.n { white-space: nowrap; }
tr.group th { background: var(--band); font-weight: 600; padding-left: .5rem; }
tr.total td { background: var(--band); border-top: 1px solid var(--line); }
td.wide { min-width: 11rem; font-size: .93em; color: var(--faint); overflow-wrap: anywhere; }
u { text-decoration-thickness: 2px; text-underline-offset: 3px; }
.notes { margin: .3rem 0 1rem; padding-left: 1.1rem; color: var(--faint); font-size: .86rem; max-width: 52rem; }
.notes li { margin: .15rem 0; }

figure { margin: .5rem 0 1rem; break-inside: avoid; }
.pictures { display: grid; gap: 1rem 1.6rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.picture { min-width: 0; overflow-x: auto; }
.pictures.p1 .picture svg { min-width: 34rem; }
svg { display: block; width: 100%; height: auto; color: var(--text); }
figcaption { color: var(--faint); font-size: .86rem; margin-top: .5rem; max-width: 52rem; }

@media screen and (max-width: 40rem) {
  body { padding: 1rem .8rem 3rem; }
  h2 { margin-top: 2.2rem; }
  .facts { grid-template-columns: minmax(0, 1fr); gap: .1rem; }
  .facts dd { margin-bottom: .6rem; }
  table { font-size: .86rem; overflow-wrap: anywhere; }
  .cards, .cards tbody { display: block; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards tr { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .3rem .8rem; padding: .6rem .2rem;
    border-top: 1px solid var(--line); }
  .cards tr.total, .cards tr.group { background: var(--band); }
  .cards tr > * { display: block; padding: 0; border: 0; min-width: 0; text-align: left; overflow-wrap: anywhere; }
  .cards tbody tr + tr > * { border: 0; }
  td.n { white-space: normal; }
  .cards td:has(> code) { grid-column: span 2; }
  .cards td:first-child, .cards td.text, .cards td.wide, .cards tr.group th { grid-column: 1 / -1; }
  .cards td:first-child { font-weight: 600; }
  .cards td:empty { display: none; }
  .cards td[data-label]:not(:first-child)::before { content: attr(data-label); display: block; color: var(--faint);
    font-size: .85em; font-weight: 400; }
}
@media print {
  :root { color-scheme: light; --text: #000; --faint: #444; --line: #bbb; --back: #fff; --band: #f0f0f0; --accent: #000; }
  body { max-width: none; padding: 0; font-size: .8rem; }
  nav, .skip { display: none; }
  .scroll, .picture { overflow: visible; background: none; }
  td.n, .missing code, .command code, .facts code { white-space: normal; overflow-wrap: anywhere; }
  .pictures.p1 .picture svg { min-width: 0; }
}
"""
