/* List: the recordings as a table that sorts, filters and scrolls; only the rows in sight exist.

Conventions: scores are of the main curve. A recording without a score comes last in either order.
Columns in which every recording says the same (one split, no subjects) are left out. */

const ROW_HEIGHT = 30; // pixels, as in the style sheet
const SPARE_ROWS = 6; // drawn above and below the rows in sight, so that scrolling shows no gap
const SPARKLINE = { width: 78, height: 22 };
const GROUPS = { split: "Split", subject: "Subject", stimulus: "Stimulus" };
const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const SCORES = {
  ccc: { title: "CCC", hint: "concordance correlation coefficient, 1 is best", decimals: 3 },
  rmse: { title: "RMSE", hint: "root mean squared error", decimals: 3 },
  bias: { title: "Bias", hint: "mean of prediction minus annotation", decimals: 3 },
  spread: { title: "Spread", hint: "the prediction's spread over the annotation's", decimals: 2 },
};

/** An element with a text and attributes. */
function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** A column of the table. */
class Column {
  constructor(key, title, { hint = "", isNumber = false, decimals = 0 } = {}) {
    this.key = key;
    this.title = title;
    this.hint = hint;
    this.isNumber = isNumber;
    this.decimals = decimals;
  }

  get isScore() {
    return this.key in SCORES;
  }

  /** The value a recording is sorted by, null where it has none. */
  value(entry, target) {
    if (this.isScore) return entry.scores[target]?.[this.key] ?? null;
    return entry[this.key] ?? null;
  }

  text(entry, target) {
    const value = this.value(entry, target);
    if (this.isScore) return shortText(value, this.decimals);
    return value === null ? "–" : String(value);
  }
}

class RecordingList {
  /** `onChoose(entry)` is called when a row is chosen. */
  constructor(index, onChoose) {
    this.index = index;
    this.onChoose = onChoose;
    this.target = index.targets[0]?.name;
    this.chosen = null;
    this.order = { key: null, isDescending: false };
    this.table = document.getElementById("recordings");
    this.scroller = this.table.parentElement;
    this.head = this.table.querySelector("thead");
    this.body = this.table.querySelector(".shown");
    this.rows = new Map(); // elements by position in `this.entries`
    this.spareRows = []; // made before, out of sight now
    this.searchTexts = new Map();
    for (const entry of index.recordings) {
      const words = [entry.name, entry.subject, entry.stimulus, entry.split];
      this.searchTexts.set(entry, words.filter(Boolean).join(" ").toLowerCase());
    }
    this.columns = this.makeColumns();
    this.makeFilters();
    this.makeHead();
    this.listen();
    this.update();
  }

  makeColumns() {
    const columns = [new Column("name", "Recording")];
    columns.push(new Column("sparkline", "Curve"));
    for (const [key, { title, hint, decimals }] of Object.entries(SCORES)) {
      columns.push(new Column(key, title, { hint, isNumber: true, decimals }));
    }
    for (const [key, title] of Object.entries(GROUPS)) {
      if (this.valuesOf(key).length > 1) columns.push(new Column(key, title));
    }
    columns.push(new Column("frames", "Frames", { isNumber: true }));
    return columns;
  }

  /** The different values of a key, sorted. */
  valuesOf(key) {
    const values = new Set(this.index.recordings.map((entry) => entry[key] ?? ""));
    return [...values].sort(COLLATOR.compare);
  }

  makeFilters() {
    this.filters = {};
    for (const key of Object.keys(GROUPS)) {
      const select = document.getElementById(`filter-${key}`);
      select.replaceChildren(element("option", "all", { value: "all:" }));
      for (const value of this.valuesOf(key)) {
        select.append(element("option", value === "" ? "none" : value, { value: `is:${value}` }));
      }
      select.parentElement.hidden = this.valuesOf(key).length < 2;
      select.addEventListener("change", () => this.update());
      this.filters[key] = select;
    }
    this.search = document.getElementById("filter-text");
    this.search.addEventListener("input", () => this.update());
    const scoresOf = document.getElementById("scores-of");
    for (const target of this.index.targets) {
      scoresOf.append(element("option", target.title, { value: target.name }));
    }
    scoresOf.parentElement.hidden = this.index.targets.length < 2;
    scoresOf.addEventListener("change", () => this.showTarget(scoresOf.value));
  }

  /** Show the scores and sparklines of a target. */
  showTarget(target) {
    this.target = target;
    document.getElementById("scores-of").value = target;
    this.update();
  }

  makeHead() {
    const row = element("tr");
    for (const column of this.columns) {
      const cell = element("th", "", { scope: "col", class: column.key });
      // Fixed widths: columns must not change theirs while rows come and go.
      cell.style.width = `${this.widthOf(column) / 2}rem`;
      if (column.isNumber) cell.classList.add("number");
      if (column.key === "sparkline") {
        cell.textContent = column.title;
      } else {
        const button = element("button", column.title, { type: "button", title: column.hint });
        button.addEventListener("click", () => this.sortBy(column.key));
        cell.append(button);
      }
      row.append(cell);
    }
    this.head.replaceChildren(row);
  }

  /** Signs that a column is wide, each half a rem. */
  widthOf(column) {
    const title = column.title.length + 3; // with the sign of the direction
    if (column.isNumber) return Math.max(title, 8);
    if (column.key === "sparkline") return 11;
    const longest = Math.max(...this.index.recordings.map(({ [column.key]: text }) => {
      return text ? text.length : 1;
    }));
    return Math.max(title, Math.min(20, longest + 2));
  }

  listen() {
    this.scroller.addEventListener("scroll", () => this.scheduleRows(), { passive: true });
    new ResizeObserver(() => this.scheduleRows()).observe(this.scroller);
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.choose(this.entries[Number(row.dataset.position)]);
    });
    this.table.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.target !== this.table || event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_HEIGHT) - 2);
    const last = this.entries.length;
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -last, End: last };
    Object.assign(steps, { PageDown: page, PageUp: -page });
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation(); // arrows here choose a row, elsewhere they move the cursor
    this.move(steps[event.key]);
  }

  /** Sort by a column; by the same one again in the other direction. */
  sortBy(key) {
    const isSame = this.order.key === key;
    this.order = { key, isDescending: isSame && !this.order.isDescending };
    this.update();
  }

  /** Filter and sort anew, and show from the top. */
  update() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.entries = this.index.recordings.filter((entry) => {
      const text = this.searchTexts.get(entry);
      return words.every((word) => text.includes(word)) && this.passesFilters(entry);
    });
    const column = this.columns.find(({ key }) => key === this.order.key);
    if (column) this.sort(column);
    for (const [position, cell] of [...this.head.rows[0].cells].entries()) {
      const direction = this.order.isDescending ? "descending" : "ascending";
      const isSorted = this.columns[position] === column;
      cell.setAttribute("aria-sort", isSorted ? direction : "none");
    }
    const all = this.index.recordings.length;
    const count = this.entries.length;
    const text = count === all ? `${all} recordings` : `${count} of ${all} recordings`;
    document.getElementById("count").textContent = all === 1 ? "1 recording" : text;
    this.table.setAttribute("aria-rowcount", String(count + 1));
    this.scroller.scrollTop = 0;
    this.drawRows(true);
    this.reveal();
  }

  passesFilters(entry) {
    for (const [key, select] of Object.entries(this.filters)) {
      const value = `is:${entry[key] ?? ""}`;
      if (select.value !== "all:" && select.value !== value) return false;
    }
    return true;
  }

  sort(column) {
    const sign = this.order.isDescending ? -1 : 1;
    this.entries.sort((left, right) => {
      const first = column.value(left, this.target);
      const second = column.value(right, this.target);
      if (first === null || second === null) return (first === null) - (second === null);
      if (column.isNumber) return sign * (first - second);
      return sign * COLLATOR.compare(first, second);
    });
  }

  scheduleRows() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.drawRows(false);
    });
  }

  /** Make the rows in sight, and drop the others; rows that stay are left alone unless `anew`. */
  drawRows(anew) {
    const inSight = Math.ceil(this.scroller.clientHeight / ROW_HEIGHT);
    const top = Math.floor(this.scroller.scrollTop / ROW_HEIGHT);
    const first = Math.max(0, top - SPARE_ROWS);
    const pastLast = Math.min(this.entries.length, top + inSight + SPARE_ROWS);
    for (const [position, row] of this.rows) {
      if (anew || position < first || position >= pastLast) {
        row.remove();
        this.rows.delete(position);
        this.spareRows.push(row);
      }
    }
    let before = null; // rows are made from the last to the first, each before the one behind it
    for (let position = pastLast - 1; position >= first; position--) {
      let row = this.rows.get(position);
      if (row === undefined) {
        row = this.makeRow(position);
        this.rows.set(position, row);
        this.body.insertBefore(row, before);
      }
      before = row;
    }
    this.table.querySelector(".before").style.height = `${first * ROW_HEIGHT}px`;
    const behind = (this.entries.length - pastLast) * ROW_HEIGHT;
    this.table.querySelector(".after").style.height = `${behind}px`;
    this.markChosen();
  }

  /** A row out of sight with a recording's contents, or a new one: making them takes longest. */
  makeRow(position) {
    const entry = this.entries[position];
    const row = this.spareRows.pop() ?? this.newRow();
    row.id = `row-${entry.id}`;
    row.setAttribute("aria-rowindex", position + 2);
    row.dataset.position = position;
    for (const [number, column] of this.columns.entries()) {
      const cell = row.cells[number];
      if (column.key === "sparkline") {
        this.drawSparklines(cell.firstElementChild, entry);
        continue;
      }
      const text = column.text(entry, this.target);
      cell.textContent = text;
      if (!column.isNumber) cell.title = text;
    }
    return row;
  }

  newRow() {
    const row = element("tr");
    for (const column of this.columns) {
      const cell = element(column.key === "name" ? "th" : "td", "", { class: column.key });
      if (column.isNumber) cell.classList.add("number");
      if (column.key === "sparkline") cell.append(newSparkline());
      row.append(cell);
    }
    row.firstElementChild.scope = "row";
    return row;
  }

  drawSparklines(canvas, entry) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, SPARKLINE.width, SPARKLINE.height);
    const curves = entry.sparkline?.[this.target];
    if (!curves) return;
    const pairs = [[curves.annotation, COLOURS.text], [curves.prediction, COLOURS.curves[0]]];
    const numbers = [...(curves.annotation ?? []), ...(curves.prediction ?? [])];
    const [low, high] = extremes([numbers.filter((number) => number !== null)]);
    for (const [values, colour] of pairs) {
      if (values) drawSparkline(context, values, colour, low, high);
    }
  }

  /** Choose a recording: mark it, show its row, and tell the page. */
  choose(entry) {
    if (entry === undefined) return;
    this.chosen = entry;
    this.reveal();
    this.onChoose(entry);
  }

  /** Choose the recording some rows away. */
  move(step) {
    if (this.entries.length === 0) return;
    const position = this.entries.indexOf(this.chosen);
    const wanted = position < 0 ? 0 : position + step;
    this.choose(this.entries[Math.min(this.entries.length - 1, Math.max(0, wanted))]);
  }

  /** Scroll as little as shows the chosen row. */
  reveal() {
    const position = this.entries.indexOf(this.chosen);
    if (position >= 0) {
      const head = this.head.offsetHeight;
      const top = position * ROW_HEIGHT;
      const room = this.scroller.clientHeight - head - ROW_HEIGHT;
      if (this.scroller.scrollTop > top) this.scroller.scrollTop = top;
      else if (this.scroller.scrollTop < top - room) this.scroller.scrollTop = top - room;
    }
    this.drawRows(false);
  }

  markChosen() {
    for (const [position, row] of this.rows) {
      row.setAttribute("aria-selected", String(this.entries[position] === this.chosen));
    }
    if (this.chosen) this.table.setAttribute("aria-activedescendant", `row-${this.chosen.id}`);
  }
}

/** An empty sparkline, as sharp as the screen. */
function newSparkline() {
  const canvas = element("canvas", "", { "aria-hidden": "true" });
  const ratio = window.devicePixelRatio;
  canvas.width = SPARKLINE.width * ratio;
  canvas.height = SPARKLINE.height * ratio;
  canvas.getContext("2d").scale(ratio, ratio);
  return canvas;
}

/** One curve of a sparkline; null is a gap. */
function drawSparkline(context, values, colour, low, high) {
  const { width, height } = SPARKLINE;
  const span = high > low ? high - low : 1;
  context.beginPath();
  context.strokeStyle = colour;
  context.lineWidth = 1.2;
  let isDrawing = false;
  values.forEach((value, point) => {
    if (value === null) {
      isDrawing = false;
      return;
    }
    const x = 1 + (point / Math.max(1, values.length - 1)) * (width - 2);
    const y = height - 2 - ((value - low) / span) * (height - 4);
    if (isDrawing) context.lineTo(x, y);
    else context.moveTo(x, y);
    isDrawing = true;
  });
  context.stroke();
}
