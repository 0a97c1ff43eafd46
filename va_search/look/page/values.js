/* Values: the table of curves with their exact values at the cursor, which is legend and choice
too; and the same in words for those who listen.

Conventions: "annotation" stands beside the series' ids. Numbers are the bank's own, to the last
digit. */

const SPEAK_AFTER = 250; // milliseconds without a further step, or a screen reader would stammer

class ValueTable {
  /** `onToggle(id, isShown)` is called when a curve's box is ticked or cleared. */
  constructor(index, onToggle) {
    this.index = index;
    this.onToggle = onToggle;
    this.table = document.getElementById("values");
    this.missing = document.getElementById("missing");
    this.all = document.getElementById("all");
    this.all.addEventListener("click", () => this.toggleAll());
    this.spoken = document.getElementById("cursor-text");
    this.recording = null;
    this.rows = []; // {id, element, box, cells}, a cell a target
    this.cells = []; // {cell, values, type} of what is shown
    this.panels = [];
  }

  /** Show a recording: `chosen` ids, `shown` as of Traces.show, `panels` of Traces. */
  show(recording, chosen, shown, panels) {
    // Rows of the same recording stay: somebody may be about to tick the next box.
    const isNew = recording !== this.recording;
    this.recording = recording;
    this.panels = panels;
    this.shown = shown;
    if (isNew) this.makeRows();
    for (const row of this.rows) {
      if (row.box) row.box.checked = chosen.has(row.id);
    }
    const boxes = this.rows.filter(({ box }) => box);
    this.all.hidden = boxes.length === 0;
    this.all.textContent = boxes.every(({ box }) => box.checked) ? "Main only" : "Show all";
    this.findValues();
  }

  makeRows() {
    const head = element("tr");
    head.append(element("th", "Curve", { scope: "col" }));
    for (const { target } of this.shown) {
      head.append(element("th", target.title, { scope: "col", class: "number" }));
    }
    for (const { target } of this.shown) {
      const title = `Weight, ${target.title}`;
      head.append(element("th", title, { scope: "col", class: "number weight" }));
    }
    this.table.tHead.replaceChildren(head);
    this.rows = [];
    const hasAny = (key) => this.shown.some((shown) => shown[key]);
    if (Object.keys(this.recording.content.annotation).length > 0) {
      this.addRow("annotation", "Annotation", "", ANNOTATION_STYLE());
    }
    for (const [position, { id, title, detail, weights }] of this.index.series.entries()) {
      if (!(id in this.recording.content.series)) continue;
      this.addRow(id, title, detail, curveStyle(position), weights, position > 0);
    }
    if (hasAny("band")) {
      const { text } = this.shown.find(({ band }) => band).band;
      for (const edge of ["high", "low"]) {
        this.addRow(`raters-${edge}`, `Raters, ${edge}`, text, BAND_STYLE());
      }
    }
    if (hasAny("error")) {
      this.addRow("error", "Error", "main curve minus annotation", ERROR_STYLE());
    }
    this.table.tBodies[0].replaceChildren(...this.rows.map(({ element: row }) => row));
    this.toggleWeights();
    this.makeMissing();
  }

  addRow(id, title, detail, style, weights = null, hasBox = false) {
    const row = element("tr", "", { "data-series": id });
    const head = element("th", "", { scope: "row" });
    const label = element("label");
    const box = hasBox ? element("input", "", { type: "checkbox" }) : null;
    if (box) {
      box.addEventListener("change", () => this.onToggle(id, box.checked));
      label.append(box);
    }
    label.append(swatch(style), element("span", title));
    head.append(label);
    if (detail) head.append(element("small", detail));
    row.append(head);
    const cells = this.shown.map(() => element("td", "", { class: "number" }));
    row.append(...cells);
    for (const { target } of this.shown) {
      const weight = weights?.[target.name];
      const text = weight === undefined || weight === null ? "" : shortText(weight);
      row.append(element("td", text, { class: "number weight" }));
    }
    this.rows.push({ id, element: row, box, cells });
  }

  /** Show every curve, or none beside the main one where all are shown. */
  toggleAll() {
    const boxes = this.rows.filter(({ box }) => box);
    const isShown = !boxes.every(({ box }) => box.checked);
    for (const { id, box } of boxes) {
      if (box.checked !== isShown) this.onToggle(id, isShown);
    }
  }

  /** Find the values of each cell; a curve that isn't shown has none. */
  findValues() {
    this.cells = [];
    for (const { id, box, cells } of this.rows) {
      for (const [position, cell] of cells.entries()) {
        const curve = this.valuesOf(id, this.shown[position]);
        if (curve) this.cells.push({ cell, ...curve });
        else cell.textContent = box && !box.checked ? "" : "–";
      }
    }
  }

  /** {values, type} of a row's target, or null. */
  valuesOf(id, { target, curves, band, error }) {
    if (id === "error") return error ? { values: error, type: "short" } : null;
    if (id.startsWith("raters-")) {
      const edge = id.slice("raters-".length);
      if (!band) return null;
      return { values: band[edge], type: this.recording.content.raters[target.name][edge].type };
    }
    const curve = curves.find((shown) => shown.id === id);
    return curve ? { values: curve.values, type: this.recording.typeOf(id, target.name) } : null;
  }

  /** Make everything anew, in other colours. */
  recolour() {
    const ticked = new Set(this.rows.filter(({ box }) => box?.checked).map(({ id }) => id));
    const { recording } = this;
    this.recording = null;
    this.show(recording, ticked, this.shown, this.panels);
  }

  /** Hide the weights' columns where no curve has any. */
  toggleWeights() {
    const cells = [...this.table.querySelectorAll("td.weight")];
    const hasWeights = cells.some((cell) => cell.textContent !== "");
    for (const cell of this.table.querySelectorAll(".weight")) cell.hidden = !hasWeights;
  }

  makeMissing() {
    const parts = [];
    for (const [name, ranges] of Object.entries(this.recording.content.missing ?? {})) {
      const frames = ranges.reduce((sum, [first, pastLast]) => sum + pastLast - first, 0);
      const share = (100 * frames) / this.recording.frames;
      const percent = share < 0.1 ? "under 0.1" : share.toFixed(1);
      if (frames > 0) parts.push(`${name} in ${percent} % of the frames`);
    }
    this.missing.textContent = `Missing features are shaded: ${parts.join(", ")}.`;
    this.missing.hidden = parts.length === 0;
  }

  /** Show the values at a frame; say them where `isSpoken`. */
  update(frame, isSpoken) {
    for (const { cell, values, type } of this.cells) {
      const value = values[frame];
      cell.textContent = type === "short" ? shortText(value, 4) : exactText(value, type) || "–";
    }
    const texts = [];
    for (const [position, panel] of this.panels.entries()) {
      const text = this.inWords(this.shown[position], frame);
      panel.values.textContent = text;
      texts.push(`${panel.shown.target.title}: ${text}`);
    }
    clearTimeout(this.timer);
    if (!isSpoken) return;
    const missing = this.recording.missingAt(frame);
    if (missing.length) texts.push(`missing: ${missing.join(", ")}`);
    const time = clockText(this.recording.times[frame]);
    this.timer = setTimeout(() => {
      this.spoken.textContent = `${time}. ${texts.join(". ")}`;
    }, SPEAK_AFTER);
  }

  /** Annotation, main curve and error of a target at a frame, in a few words. */
  inWords({ curves, error }, frame) {
    const parts = [];
    const main = this.index.series[0];
    for (const { id, values } of curves) {
      if (id === "annotation") parts.push(`annotation ${shortText(values[frame])}`);
      if (id === main.id) parts.push(`${main.kind} ${shortText(values[frame])}`);
    }
    if (error) parts.push(`error ${shortText(error[frame])}`);
    return parts.join(" · ");
  }
}

/** A short piece of a curve's line. */
function swatch({ stroke, dash, width }) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  const attributes = { x1: 0, x2: 24, y1: 6, y2: 6, "stroke-width": width };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  line.setAttribute("stroke", stroke);
  line.setAttribute("stroke-dasharray", dash.join(" "));
  picture.setAttribute("class", "swatch");
  picture.setAttribute("aria-hidden", "true");
  picture.append(line);
  return picture;
}
