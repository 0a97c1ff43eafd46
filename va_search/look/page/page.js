/* Page: what is chosen (recording, moment, target, curves), and who is told when it changes. */

class Page {
  constructor(folder) {
    this.folder = folder;
    this.index = folder.index;
    this.recording = null;
    this.shown = []; // as of Traces.show
    this.time = 0;
    this.hovered = null;
    this.target = this.index.targets[0]?.name ?? null;
    this.members = new Set(); // ids of the curves beside the main one
    this.isFitted = true;
    this.requests = 0; // what was asked for earlier may arrive later, and is not shown then
    const traces = document.getElementById("traces");
    this.traces = new Traces(traces, this.index.series[0]?.id, () => this.writeAddress());
    this.gestures = new Gestures(this.traces, {
      seek: (time) => this.seek(time),
      hover: (time) => this.hover(time),
    });
    const play = document.getElementById("play");
    this.player = new Player(document.getElementById("player"), play, (time) => this.play(time));
    this.theme = new Theme(document.getElementById("theme"), () => this.recolour());
    this.list = new RecordingList(this.index, (entry) => this.open(entry));
    this.values = new ValueTable(this.index, (id, isShown) => this.toggleCurve(id, isShown));
    this.address = new Address(this.index, (state) => this.goTo(state));
    this.exports = new ExportMenu(this, document.getElementById("export"));
    this.showHead();
    this.listen();
    this.keys = new Keys(this);
  }

  showHead() {
    const { index } = this;
    const when = new Date(index.made);
    const made = Number.isNaN(when.getTime()) ? index.made : when.toLocaleString();
    document.getElementById("title").textContent = index.title;
    const origin = `${index.kind} · va-search ${index.version} · ${made}`;
    document.getElementById("made").textContent = origin;
    const sentences = [index.scores_are, ...(index.notes ?? [])].filter(Boolean);
    document.getElementById("scores-are").append(...richText(sentences.join(" ")));
    const verdict = document.getElementById("verdict");
    for (const [label, sentence] of index.verdict ?? []) {
      const description = element("dd");
      description.append(...richText(sentence));
      verdict.querySelector("dl").append(element("dt", label), description);
    }
    verdict.hidden = (index.verdict ?? []).length === 0;
  }

  listen() {
    const onClick = (id, run) => document.getElementById(id).addEventListener("click", run);
    onClick("previous", () => this.list.move(-1));
    onClick("next", () => this.list.move(1));
    onClick("link", () => this.copyLink());
    onClick("help", () => this.showKeys());
    onClick("play", () => this.player.toggle());
    onClick("whole", () => this.traces.showWhole());
    onClick("zoom-in", () => this.zoom(0.5));
    onClick("zoom-out", () => this.zoom(2));
    onClick("pan-left", () => this.traces.pan(-0.25));
    onClick("pan-right", () => this.traces.pan(0.25));
    onClick("fit", () => this.toggleFit());
    document.getElementById("traces").addEventListener("click", (event) => {
      const button = event.target.closest("[data-worst]");
      if (button) this.goToWorst(button.dataset.worst);
    });
  }

  /** Open what the address says, or the first recording. */
  start() {
    const state = this.address.read();
    if (state.entry) return this.goTo(state);
    if (state.wanted) this.tell(`There is no recording ${state.wanted} here.`);
    return this.list.move(0);
  }

  /** Go to a state of the address. */
  async goTo({ entry, wanted, time, target, members, view }) {
    if (entry === null && wanted) this.tell(`There is no recording ${wanted} here.`);
    if (entry === null) return;
    if (members) this.members = new Set(members);
    if (target) this.setTarget(target);
    this.list.chosen = entry;
    this.list.reveal();
    await this.open(entry);
    if (this.recording?.entry !== entry) return; // it could not be read
    if (view) this.traces.setView(view.from, view.to);
    if (time !== null) this.seek(time);
  }

  /** Load and show a recording. */
  async open(entry) {
    this.requests += 1;
    const request = this.requests;
    const isSame = this.recording?.entry === entry;
    let recording = null;
    let shown = [];
    let problem = "";
    try {
      recording = await this.folder.recording(entry);
      shown = await this.curvesOf(recording);
    } catch (error) {
      problem = error.message;
    }
    if (request !== this.requests) return;
    this.showTitle(entry, problem);
    if (!isSame) this.player.show(entry);
    if (problem) {
      this.recording = null;
      this.traces.clear();
      return;
    }
    this.recording = recording;
    this.shown = shown;
    this.traces.show(recording, shown);
    this.gestures.attach();
    this.values.show(recording, this.members, shown, this.traces.panels);
    this.markTarget();
    if (!isSame) this.time = recording.times[0];
    this.hovered = null;
    this.showCursor(false);
    this.writeAddress();
    performance.mark("va-recording");
  }

  showTitle(entry, problem) {
    document.getElementById("name").textContent = entry.name;
    const facts = [entry.split, entry.subject && `subject ${entry.subject}`];
    facts.push(entry.stimulus && `stimulus ${entry.stimulus}`, `${entry.frames} frames`);
    if (entry.seconds) facts.push(clockText(entry.seconds, 1));
    document.getElementById("facts").textContent = facts.filter(Boolean).join(" · ");
    const alert = document.getElementById("recording-problem");
    alert.textContent = problem;
    alert.hidden = problem === "";
    document.getElementById("recording").classList.toggle("unreadable", problem !== "");
    document.title = `${entry.name} · ${this.index.title}`;
  }

  /** What Traces shows of a recording: per target annotation, curves, error and band. */
  async curvesOf(recording) {
    const shown = recording.targets.map((target) => this.curvesOfTarget(recording, target));
    return Promise.all(shown);
  }

  async curvesOfTarget(recording, target) {
    const main = this.index.series[0];
    const annotation = await recording.annotation(target.name);
    const curves = [];
    for (const [position, { id, title }] of this.index.series.entries()) {
      if (position > 0 && !this.members.has(id)) continue;
      const values = await recording.series(id, target.name);
      if (values) curves.push({ id, title, style: () => curveStyle(position), values });
    }
    const prediction = curves.find(({ id }) => id === main.id)?.values;
    const error = annotation && prediction ? difference(prediction, annotation) : null;
    if (annotation) {
      const values = annotation;
      curves.unshift({ id: "annotation", title: "annotation", style: ANNOTATION_STYLE, values });
    }
    const band = await recording.raters(target.name);
    return { target, curves, error, band, summary: summaryOf(recording.entry, target) };
  }

  toggleCurve(id, isShown) {
    if (isShown) this.members.add(id);
    else this.members.delete(id);
    return this.recording && this.open(this.recording.entry);
  }

  recolour() {
    if (!this.list) return; // the page is being made
    this.list.drawRows(true);
    if (this.recording === null) return;
    this.traces.redraw();
    this.values.recolour();
    this.showCursor(false);
  }

  // The cursor.

  /** Go to a time, in the medium too. */
  seek(time) {
    if (this.recording === null) return;
    const { from, to } = this.traces.whole;
    this.time = Math.min(to, Math.max(from, time));
    this.hovered = null;
    this.player.seek(this.time);
    this.keepInSight();
    this.showCursor(true);
    this.writeAddress();
  }

  /** Follow the medium. */
  play(time) {
    if (this.recording === null) return;
    this.time = time;
    this.keepInSight();
    this.showCursor(false);
    this.writeAddress();
  }

  hover(time) {
    if (this.recording === null) return;
    this.hovered = time;
    // A pointer may move many times between two frames of the screen.
    this.scheduled ??= requestAnimationFrame(() => {
      this.scheduled = null;
      this.showCursor(false);
    });
  }

  /** Move by frames, or by seconds. */
  step(count, isSeconds) {
    if (this.recording === null) return;
    if (isSeconds) {
      this.seek(this.time + count);
      return;
    }
    const { times, frames } = this.recording;
    const frame = this.recording.frameAt(this.time) + count;
    this.seek(times[Math.min(frames - 1, Math.max(0, frame))]);
  }

  keepInSight() {
    const { from, to } = this.traces.view;
    if (this.time < from || this.time > to) {
      const half = (to - from) / 2;
      this.traces.setView(this.time - half, this.time + half);
    }
  }

  showCursor(isSpoken) {
    if (this.recording === null) return;
    const time = this.hovered ?? this.time;
    this.traces.mark(this.time, this.hovered);
    const frame = this.recording.frameAt(time);
    const text = `${clockText(time, 3)} · frame ${frame + 1} of ${this.recording.frames}`;
    const missing = this.recording.missingAt(frame);
    const hint = missing.length ? ` · missing: ${missing.join(", ")}` : "";
    document.getElementById("clock").textContent = text + hint;
    this.values.update(frame, isSpoken);
  }

  // The view and the target.

  zoom(factor) {
    const { from, to } = this.traces.view;
    const isInSight = from <= this.time && this.time <= to;
    this.traces.zoom(factor, isInSight ? this.time : (from + to) / 2);
  }

  goToWorst(target) {
    const first = this.recording?.content.worst?.[target];
    if (first === undefined || first === null) return;
    this.setTarget(target);
    const start = this.recording.times[first];
    // With a little of what is around it.
    this.traces.setView(start - 0.2 * WORST_SECONDS, start + 1.2 * WORST_SECONDS);
    this.seek(start);
  }

  nextTarget() {
    const names = this.index.targets.map(({ name }) => name);
    this.setTarget(names[(names.indexOf(this.target) + 1) % names.length]);
    document.querySelector(".target.chosen")?.scrollIntoView({ block: "nearest" });
  }

  setTarget(target) {
    this.target = target;
    this.list.showTarget(target);
    this.markTarget();
    this.writeAddress();
  }

  markTarget() {
    for (const panel of this.traces.panels) {
      panel.element.classList.toggle("chosen", panel.target === this.target);
    }
  }

  toggleFit() {
    this.isFitted = !this.isFitted;
    document.getElementById("fit").setAttribute("aria-pressed", String(this.isFitted));
    this.traces.fitHeight(this.isFitted);
  }

  // The address and the dialogs.

  writeAddress() {
    if (this.recording === null) return;
    this.address.write({
      entry: this.recording.entry,
      time: this.time,
      target: this.target,
      members: [...this.members],
      view: this.traces.isWhole ? null : this.traces.view,
    });
  }

  async copyLink() {
    const link = this.address.flush();
    try {
      await navigator.clipboard.writeText(link);
      this.tell("The link is copied.");
    } catch {
      // Not allowed here: the person copies it by hand.
      const dialog = document.getElementById("link-dialog");
      const field = dialog.querySelector("input");
      field.value = link;
      dialog.showModal();
      field.select();
    }
  }

  tell(text) {
    const message = document.getElementById("message");
    message.textContent = text;
    message.hidden = false;
    clearTimeout(this.messageTimer);
    this.messageTimer = setTimeout(() => { message.hidden = true; }, 4000);
  }

  openExport() {
    const menu = document.getElementById("export");
    menu.open = true;
    menu.querySelector("button").focus();
  }

  focusValues() {
    const values = document.getElementById("values");
    const box = values.querySelector("input");
    (box ?? values).focus();
    values.scrollIntoView({ block: "nearest" });
  }

  showKeys() {
    document.getElementById("keys").showModal();
  }
}

/** Nodes of a sentence in which `commands` stand between backticks. */
function richText(sentence) {
  return sentence.split("`").map((part, position) => {
    return position % 2 === 1 ? element("code", part) : document.createTextNode(part);
  });
}

/** Left minus right, NaN where either has no value. */
function difference(left, right) {
  return Float64Array.from(left, (value, frame) => value - right[frame]);
}

/** A target's scores of a recording in one line. */
function summaryOf(entry, target) {
  const scores = entry.scores[target.name];
  if (!scores) return "no annotation";
  const parts = [];
  for (const [key, { title, decimals }] of Object.entries(SCORES)) {
    parts.push(`${title} ${shortText(scores[key], decimals)}`);
  }
  return parts.join(" · ");
}

async function openPage() {
  const folder = new Folder();
  try {
    await folder.open();
    document.querySelector(".panes").hidden = false;
    const page = new Page(folder);
    performance.mark("va-list");
    if (folder.index.recordings.length === 0) throw new Error("There are no recordings here.");
    await page.start();
  } catch (error) {
    const problem = document.getElementById("problem");
    problem.textContent = error.message;
    problem.hidden = false;
  }
}

openPage();
