"""How the page looks. Colours are few: text, faint lines, one accent; both themes keep a contrast
of 4.5 or more."""

STYLE = """
:root { color-scheme: light dark; --text: #1d2025; --faint: #5b616b; --line: #d9dce1; --back: #fdfdfc; --band: #f3f4f2;
  --accent: #2a62ad; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6ea; --faint: #a0a6b0; --line: #363b43; --back: #15181c; --band: #1d2126; --accent: #8ab4ec; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.1rem 4rem; background: var(--back); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .3rem 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .3rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.9rem 0 .3rem; }
p { margin: .4rem 0 .8rem; max-width: 48rem; }
.lead { color: var(--faint); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 1rem 0 0; padding: 0; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
code { font: .86em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; margin: .4rem 0 .6rem; border-bottom: 1px solid var(--line);
  border-top: 1px solid var(--line); }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; min-width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; overflow-wrap: normal; }
th, td { padding: .38rem .7rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: .2rem; }
thead th { font-weight: 600; color: var(--faint); border-bottom: 1px solid var(--line); vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--line) 55%, transparent); }
.n { text-align: right; white-space: nowrap; }
tr.group th { background: var(--band); font-weight: 600; padding-left: .5rem; }
tr.total td { background: var(--band); border-top: 1px solid var(--line); }
td:not(.n) { min-width: 5.5rem; }
td:first-child { white-space: nowrap; }
td:first-child, thead th:first-child { position: sticky; left: 0; background: var(--back); }
tr.total td:first-child { background: var(--band); }
td:nth-child(2):not(.text):not(.wide) { white-space: nowrap; }
td.text { min-width: 8.5rem; }
td.wide { min-width: 19rem; font-size: .93em; color: var(--faint); }
td code { white-space: nowrap; }
u { text-decoration-thickness: 2px; text-underline-offset: 3px; }
.notes { margin: .3rem 0 1rem; padding-left: 1.1rem; color: var(--faint); font-size: .86rem; max-width: 52rem; }
.notes li { margin: .15rem 0; }
.missing { border-left: 3px solid var(--line); padding: .1rem 0 .1rem .8rem; color: var(--faint); }
.missing code { display: block; color: var(--text); white-space: nowrap; overflow-x: auto; padding: .15rem 0; }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; } table { font-size: .84rem; }
  th, td { padding: .3rem .5rem; } h2 { margin-top: 2.2rem; } }
figure { margin: .5rem 0 1rem; }
.pictures { display: grid; gap: 1rem 1.6rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.picture { min-width: 0; overflow-x: auto; }
.pictures.p1 .picture svg { min-width: 34rem; }
svg { display: block; width: 100%; height: auto; color: var(--text); }
figcaption { color: var(--faint); font-size: .86rem; margin-top: .5rem; max-width: 52rem; }
@media print { body { max-width: none; } .scroll { overflow: visible; } section { break-inside: auto; } }
"""
