/* Values: the table of curves with their exact values at the cursor, which is legend and choice too;
and the same in words for those who listen.

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
    this.spoken = document.getElementById("cursor-text");
    this.cells = []; // {cell, values, type}
    this.panels = [];
  }

  /** Make the rows for a recording: `chosen` ids, `shown` as of Traces.show, `panels` of Traces. */
  show(recording, chosen, shown, panels) {
    this.recording = recording;
    this.panels = panels;
    this.shown = shown;
    this.cells = [];
    const head = element("tr");
    head.append(element("th", "Curve", { scope: "col" }));
    for (const { target } of shown) {
      head.append(element("th", target.title, { scope: "col", class: "number" }));
    }
    for (const { target } of shown) {
      head.append(element("th", `Weight, ${target.title}`, { scope: "col", class: "number weight" }));
    }
    this.table.tHead.replaceChildren(head);
    const rows = [this.makeRow("annotation", "Annotation", "", ANNOTATION_STYLE(), true, null)];
    for (const [position, series] of this.index.series.entries()) {
      if (!(series.id in recording.content.series)) continue;
      const isChosen = position === 0 || chosen.has(series.id);
      const style = curveStyle(position);
      rows.push(this.makeRow(series.id, series.title, series.detail, style, isChosen, series.weights));
    }
    if (shown.some(({ band }) => band)) rows.push(...this.makeBandRows());
    rows.push(this.makeErrorRow());
    this.table.tBodies[0].replaceChildren(...rows.filter(Boolean));
    this.toggleWeights();
    this.makeMissing();
  }

  makeRow(id, title, detail, style, isChosen, weights) {
    const curves = this.shown.map((shown) => shown.curves.find((curve) => curve.id === id));
    if (id === "annotation" && !curves.some(Boolean)) return null;
    const row = element("tr", "", { "data-series": id });
    const head = element("th", "", { scope: "row" });
    const label = element("label");
    if (id !== "annotation" && id !== this.index.series[0].id) {
      const box = element("input", "", { type: "checkbox" });
      box.checked = isChosen;
      box.addEventListener("change", () => this.onToggle(id, box.checked));
      label.append(box);
    }
    label.append(swatch(style), element("span", title));
    head.append(label);
    if (detail) head.append(element("small", detail));
    row.append(head);
    for (const [position, { target }] of this.shown.entries()) {
      const type = curves[position] ? this.recording.typeOf(id, target.name) : null;
      row.append(this.valueCell(curves[position]?.values, type, isChosen));
    }
    for (const { target } of this.shown) {
      const weight = weights?.[target.name];
      const text = weight === undefined || weight === null ? "" : shortText(weight);
      row.append(element("td", text, { class: "number weight" }));
    }
    return row;
  }

  valueCell(values, type, isChosen = true) {
    const cell = element("td", "", { class: "number" });
    if (values) this.cells.push({ cell, values, type });
    else cell.textContent = isChosen ? "–" : "";
    return cell;
  }

  makeBandRows() {
    const text = this.shown.find(({ band }) => band).band.text;
    return ["high", "low"].map((edge) => {
      const row = element("tr", "", { "data-series": `raters-${edge}` });
      const head = element("th", "", { scope: "row" });
      head.append(swatch(BAND_STYLE()));
      head.append(element("span", `Raters, ${edge}`), element("small", text));
      row.append(head);
      for (const { target, band } of this.shown) {
        const type = band ? this.recording.content.raters[target.name][edge].type : null;
        row.append(this.valueCell(band?.[edge], type));
      }
      return row;
    });
  }

  makeErrorRow() {
    if (!this.shown.some(({ error }) => error)) return null;
    const row = element("tr", "", { "data-series": "error" });
    const head = element("th", "", { scope: "row" });
    head.append(swatch(ERROR_STYLE()));
    head.append(element("span", "Error"), element("small", "main curve minus annotation"));
    row.append(head);
    for (const { error } of this.shown) row.append(this.valueCell(error, "short"));
    return row;
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
      if (frames > 0) parts.push(`${name} in ${share < 0.1 ? "under 0.1" : share.toFixed(1)} % of the frames`);
    }
    this.missing.textContent = parts.length ? `Missing features are shaded: ${parts.join(", ")}.` : "";
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
  const attributes = { x1: 0, x2: 28, y1: 6, y2: 6, "stroke-width": width };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  line.setAttribute("stroke", stroke);
  line.setAttribute("stroke-dasharray", dash.join(" "));
  picture.setAttribute("class", "swatch");
  picture.setAttribute("aria-hidden", "true");
  picture.append(line);
  return picture;
}
