/* Colours: what is drawn on canvases, taken from the style sheet's variables.

Curves beside the main one take the colours of Okabe and Ito, which people with any colour vision
tell apart, and beyond six curves other dashes too. */

const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];
const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "va-look-theme";
const NAMES = ["text", "faint", "line", "back", "error", "missing", "band"];
const COLOURS = { curves: [] }; // and each of NAMES

/** Read the colours of the theme that holds now. */
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) {
    COLOURS[name] = style.getPropertyValue(`--${name}`).trim();
  }
  COLOURS.curves = [0, 1, 2, 3, 4, 5, 6].map((number) => {
    return style.getPropertyValue(`--curve${number}`).trim();
  });
}

/** {stroke, dash, width} of the curve at a position of the index; 0 is the main one. */
function curveStyle(position) {
  if (position === 0) return { stroke: COLOURS.curves[0], dash: [], width: 2 };
  const others = COLOURS.curves.length - 1;
  const stroke = COLOURS.curves[1 + ((position - 1) % others)];
  const dash = DASHES[Math.floor((position - 1) / others) % DASHES.length];
  return { stroke, dash, width: 1.2 };
}

const ANNOTATION_STYLE = () => ({ stroke: COLOURS.text, dash: [], width: 2 });
const BAND_STYLE = () => ({ stroke: COLOURS.band, dash: [], width: 9 });
const ERROR_STYLE = () => ({ stroke: COLOURS.error, dash: [], width: 2 });

/** The theme: the system's, light or dark; kept for the next time where the browser allows it. */
class Theme {
  constructor(button, onChange) {
    this.button = button;
    this.onChange = onChange;
    this.name = "auto";
    try {
      const kept = localStorage.getItem(THEME_KEY);
      if (THEMES.includes(kept)) this.name = kept;
    } catch {
      // A browser may refuse storage to files; the theme is then the system's.
    }
    button.addEventListener("click", () => this.next());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.apply());
    this.apply();
  }

  next() {
    this.name = THEMES[(THEMES.indexOf(this.name) + 1) % THEMES.length];
    try {
      localStorage.setItem(THEME_KEY, this.name);
    } catch {
      // As above.
    }
    this.apply();
  }

  apply() {
    document.documentElement.dataset.theme = this.name;
    this.button.textContent = `Theme: ${this.name}`;
    readColours();
    this.onChange();
  }
}
