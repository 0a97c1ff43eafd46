/* Export: the shown recording as CSV, picture, ELAN file, and as `submit` writes it.

Conventions: CSV and ELAN have every digit of the bank's numbers; what is submitted has six decimals
and stays in the target's range. A frame without a value has an empty cell. */

/** Hand a file to the person. */
function saveFile(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const anchor = element("a", "", { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

/** A recording's name that every file system allows. */
function fileName(entry) {
  if (entry.sheet) return entry.sheet.replace(/\.csv$/, "");
  return entry.name.replace(/[\u0000-\u001f\u007f/\\:*?"<>|%]|^\.|[. ]$/g, "_") || entry.id;
}

/** A cell of a CSV, in quotes where it needs them. */
function csvCell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvText(rows) {
  return rows.map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
}

/** What is shown, as columns [{name, values, type}] named "target: curve". */
function shownColumns(recording, shown) {
  const columns = [];
  for (const { target, curves, band } of shown) {
    for (const { id, title, values } of curves) {
      const type = recording.typeOf(id, target.name);
      columns.push({ name: `${target.name}: ${title}`, values, type });
    }
    for (const edge of band ? ["low", "high"] : []) {
      const { type } = recording.content.raters[target.name][edge];
      columns.push({ name: `${target.name}: raters ${edge}`, values: band[edge], type });
    }
  }
  return columns;
}

/** Time, then every shown curve of every target, one row a frame. */
function shownCsv(recording, shown) {
  const columns = shownColumns(recording, shown);
  const rows = [["time", ...columns.map(({ name }) => name)]];
  for (let frame = 0; frame < recording.frames; frame++) {
    const row = [exactText(recording.written[frame], "f8")];
    for (const { values, type } of columns) row.push(exactText(values[frame], type));
    rows.push(row);
  }
  return csvText(rows);
}

/** The main curve as `submit --format recordings` writes a recording. */
async function submittedCsv(recording, index) {
  const { keys } = recording.content;
  const main = index.series[0];
  const header = [];
  const columns = [];
  if (keys && index.time_column) {
    header.push(index.time_column);
    const bytes = await inflate(keys.deflate);
    columns.push(new TextDecoder().decode(bytes).split("\n"));
  }
  for (const { name, low, high } of index.targets) {
    const values = await recording.series(main.id, name);
    if (values === null) continue;
    header.push(name);
    columns.push(Array.from(values, (value) => submittedText(value, low, high)));
  }
  const rows = [header];
  for (let frame = 0; frame < recording.frames; frame++) {
    rows.push(columns.map((column) => column[frame]));
  }
  return csvText(rows);
}

function submittedText(value, low, high) {
  if (Number.isNaN(value)) return "";
  return sixDecimals(Math.min(high, Math.max(low, value)));
}

/** The export menu. `page` has recording, shown, index and traces. */
class ExportMenu {
  constructor(page, menu) {
    this.page = page;
    const choices = [
      ["csv", "CSV: the shown curves, every digit", () => this.saveCsv()],
      ["png", "PNG: the curves as they are seen", () => this.savePicture()],
      ["eaf", "ELAN: a tier per shown curve", () => this.saveElan()],
      ["submission", "CSV as submit writes it", () => this.saveSubmission()],
    ];
    for (const [key, title, save] of choices) {
      const button = element("button", title, { type: "button", "data-export": key });
      button.addEventListener("click", async () => {
        menu.open = false;
        if (page.recording) await save();
      });
      menu.querySelector("div").append(button);
    }
    document.addEventListener("click", (event) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  }

  saveCsv() {
    const { recording, shown } = this.page;
    saveFile(`${fileName(recording.entry)}_curves.csv`, shownCsv(recording, shown), "text/csv");
  }

  saveElan() {
    const { recording, shown } = this.page;
    const text = elanText(recording, shownColumns(recording, shown));
    saveFile(`${fileName(recording.entry)}.eaf`, text, "application/xml");
  }

  async saveSubmission() {
    const { recording, index } = this.page;
    const text = await submittedCsv(recording, index);
    saveFile(`${fileName(recording.entry)}.csv`, text, "text/csv");
  }

  async savePicture() {
    const canvas = pictureOf(this.page);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    saveFile(`${fileName(this.page.recording.entry)}.png`, blob, "image/png");
  }
}

/** A canvas with title, legend and the charts one below the other, in the theme's colours. */
function pictureOf({ recording, shown, traces, index }) {
  const ratio = window.devicePixelRatio;
  const margin = 12;
  const line = 20;
  const width = traces.width + 2 * margin;
  const legend = legendRows(shown, width - 2 * margin);
  let height = 2 * margin + line * (2 + legend.length);
  for (const panel of traces.panels) {
    height += line * 1.5;
    for (const chart of panel.charts) height += chart.height;
  }
  const canvas = document.createElement("canvas");
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = COLOURS.back;
  context.fillRect(0, 0, width, height);
  let top = margin + line * 0.8;
  const { from, to } = traces.view;
  writeText(context, recording.entry.name, margin, top, "bold 15px system-ui, sans-serif");
  top += line;
  writeText(context, `${index.title} · ${clockText(from)} to ${clockText(to)}`, margin, top);
  for (const row of legend) {
    top += line;
    for (const { title, style, left } of row) {
      drawSwatch(context, style, margin + left, top - 4);
      writeText(context, title, margin + left + 34, top);
    }
  }
  top += line * 0.5;
  for (const panel of traces.panels) {
    top += line;
    const title = `${panel.shown.target.title}   ${panel.shown.summary}`;
    writeText(context, title, margin, top, "bold 13px system-ui, sans-serif");
    top += line * 0.5;
    for (const chart of panel.charts) {
      context.drawImage(chart.ctx.canvas, margin, top, chart.width, chart.height);
      top += chart.height;
    }
  }
  return canvas;
}

function writeText(context, text, left, top, font = "13px system-ui, sans-serif") {
  context.font = font;
  context.fillStyle = COLOURS.text;
  context.fillText(text, left, top);
}

function drawSwatch(context, { stroke, dash, width }, left, top) {
  context.beginPath();
  context.strokeStyle = stroke;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.moveTo(left, top);
  context.lineTo(left + 28, top);
  context.stroke();
  context.setLineDash([]);
}

/** The legend's entries {title, style, left} in rows that fit a width. */
function legendRows(shown, width) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = "13px system-ui, sans-serif";
  const curves = new Map(); // by id, as a curve may be of one target only
  for (const panel of shown) {
    for (const { id, title, style } of panel.curves) curves.set(id, { title, style: style() });
    const { band } = panel;
    if (band) curves.set("band", { title: `Raters: ${band.text}`, style: BAND_STYLE() });
    if (panel.error) curves.set("error", { title: "Error", style: ERROR_STYLE() });
  }
  const rows = [[]];
  let left = 0;
  for (const { title, style } of curves.values()) {
    const size = 34 + context.measureText(title).width + 18;
    if (left + size > width && left > 0) {
      rows.push([]);
      left = 0;
    }
    rows.at(-1).push({ title, style, left });
    left += size;
  }
  return rows;
}
