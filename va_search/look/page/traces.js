/* Traces: per target the annotation, the shown curves and the error below them, on one time line.

Conventions: `view` is the span of seconds in sight, the same for every chart; `whole` is that of
the recording. `curves` of a target are [{id, title, style, values}], the annotation first where
there is one. The error is the main curve minus the annotation. Charts are uPlot's; cursor, zoom and
pan are ours, so that one movement moves them all. */

const CHART_HEIGHT = 190;
const STRIP_HEIGHT = 74;
const AXIS_WIDTH = 54;
const TIME_STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30,
  60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000,
];
const FEWEST_FRAMES = 4; // in sight at the nearest zoom
const WORST_SECONDS = 10;
const CROWDED = 20000; // points of curves beside the main one, more than a moving picture can draw
const COARSE_POINTS = 160; // of such a curve while the view moves
const REST_AFTER = 150; // milliseconds without a further move

class Traces {
  /** `mainId`: the main curve's; `onView(view)` is called when the view changed. */
  constructor(container, mainId, onView) {
    this.container = container;
    this.mainId = mainId;
    this.onView = onView;
    this.recording = null;
    this.panels = [];
    this.isFitted = true;
    this.view = { from: 0, to: 1 };
    this.whole = { from: 0, to: 1 };
    this.width = 0;
    new ResizeObserver(() => this.resize()).observe(container);
  }

  /** Show a recording's targets: [{target, curves, error, band, summary}]. The view stays where it
  is the same recording. */
  show(recording, targets) {
    if (recording !== this.recording) {
      const last = recording.times[recording.frames - 1];
      // One frame has no width: its chart is as wide as a frame would be.
      const margin = recording.frames === 1 ? recording.step / 2 : 0;
      this.whole = { from: recording.times[0] - margin, to: last + margin };
      this.view = { ...this.whole };
    }
    this.recording = recording;
    // An empty container would be less high for a moment, and what is below it would jump.
    this.container.style.minHeight = `${this.container.offsetHeight}px`;
    this.clear();
    this.width = this.container.clientWidth;
    for (const shown of targets) this.panels.push(new Panel(this, shown));
    this.container.style.minHeight = "";
  }

  clear() {
    for (const panel of this.panels) panel.destroy();
    this.panels = [];
    this.container.replaceChildren();
  }

  get charts() {
    return this.panels.flatMap((panel) => panel.charts);
  }

  resize() {
    const width = this.container.clientWidth;
    if (width === this.width || width === 0) return;
    this.width = width;
    for (const chart of this.charts) chart.setSize({ width, height: chart.height });
    this.placeMarks();
  }

  /** Fit the height to the curves, or show the target's whole range. */
  fitHeight(isFitted) {
    this.isFitted = isFitted;
    for (const panel of this.panels) panel.applyHeight();
  }

  /** See another span of time, moved and widened to one that there is. */
  setView(from, to) {
    const { whole, recording } = this;
    const widest = whole.to - whole.from;
    const narrowest = Math.min(widest, FEWEST_FRAMES * recording.step);
    const span = Math.min(widest, Math.max(narrowest, to - from));
    const middle = (from + to) / 2;
    const start = Math.min(whole.to - span, Math.max(whole.from, middle - span / 2));
    this.view = { from: start, to: start + span };
    this.isMoving = true;
    clearTimeout(this.restTimer);
    this.restTimer = setTimeout(() => this.rest(), REST_AFTER);
    // Wheels and pointers move faster than the screen: one drawing a frame is enough.
    this.scheduled ??= requestAnimationFrame(() => this.applyView());
    this.onView(this.view);
  }

  applyView() {
    this.scheduled = null;
    for (const chart of this.charts) {
      chart.setScale("x", { min: this.view.from, max: this.view.to });
    }
    this.placeMarks();
  }

  /** Draw what was coarse while the view moved. */
  rest() {
    const wasCoarse = this.isCoarse;
    this.isMoving = false;
    if (!wasCoarse) return;
    for (const panel of this.panels) panel.charts[0].redraw(true, false);
  }

  /** True while the view moves over more points than can be drawn 30 times a second. */
  get isCoarse() {
    if (!this.isMoving) return false;
    const share = (this.view.to - this.view.from) / (this.whole.to - this.whole.from);
    let beside = 0;
    for (const { shown } of this.panels) beside += Math.max(0, shown.curves.length - 2);
    return beside * this.recording.frames * share > CROWDED;
  }

  /** Zoom by a factor (below 1: nearer) around a time, which stays where it is. */
  zoom(factor, time) {
    const { from, to } = this.view;
    this.setView(time - (time - from) * factor, time + (to - time) * factor);
  }

  /** Move the view by a share of its width. */
  pan(share) {
    const { from, to } = this.view;
    const seconds = share * (to - from);
    this.setView(from + seconds, to + seconds);
  }

  showWhole() {
    this.setView(this.whole.from, this.whole.to);
  }

  get isWhole() {
    return this.view.from <= this.whole.from && this.view.to >= this.whole.to;
  }

  /** Mark the time that plays (`now`) and the one under the pointer (`hover`, or null). */
  mark(now, hover) {
    this.now = now;
    this.hover = hover;
    this.placeMarks();
  }

  placeMarks() {
    for (const chart of this.charts) {
      this.placeMark(chart, ".now", this.now);
      this.placeMark(chart, ".hover", this.hover);
    }
  }

  /** Move a chart's vertical line to a time; hide it where that isn't in sight. */
  placeMark(chart, selector, time) {
    const line = chart.over.querySelector(selector);
    const { from, to } = this.view;
    const isInSight = time !== null && time !== undefined && from <= time && time <= to;
    line.hidden = !isInSight;
    if (!isInSight) return;
    // Not by the chart's scale, which takes on a new view only later.
    const width = chart.bbox.width / window.devicePixelRatio;
    line.style.transform = `translateX(${((time - from) / (to - from)) * width}px)`;
  }

  /** Draw anew in the theme's colours. */
  redraw() {
    for (const chart of this.charts) chart.redraw(false, true);
  }
}

/** One target: heading, chart and error strip. */
class Panel {
  constructor(traces, shown) {
    this.traces = traces;
    this.shown = shown;
    this.target = shown.target.name;
    this.element = element("section", "", { class: "target", "aria-label": shown.target.title });
    const heading = element("h3", shown.target.title);
    this.values = element("output", "", { class: "now-values" });
    this.worst = element("button", "Worst 10 s", { type: "button", "data-worst": this.target });
    this.worst.title = `The ${WORST_SECONDS} seconds with the largest error`;
    this.worst.disabled = traces.recording.content.worst?.[this.target] === undefined;
    const head = element("div", "", { class: "target-head" });
    const summary = element("span", shown.summary, { class: "faint" });
    head.append(heading, summary, this.worst, this.values);
    this.element.append(head);
    traces.container.append(this.element);
    this.charts = [this.makeChart()];
    if (shown.error) this.charts.push(this.makeStrip());
    this.element.lastElementChild.classList.add("with-times");
  }

  destroy() {
    for (const chart of this.charts) chart.destroy();
  }

  /** [low, high] of the chart's height: annotation, main curve and band whole; a curve beside them
  that leaves the target's range is cut off, or one wild model would flatten all others. */
  heights() {
    const { curves, band, target } = this.shown;
    const arrays = band ? [band.low, band.high] : [];
    const beside = [];
    for (const { id, values } of curves) (this.isBeside(id) ? beside : arrays).push(values);
    const [lowest, highest] = extremes(beside);
    const [first, last] = extremes(arrays);
    const low = Math.min(first, Math.max(target.low, lowest));
    const high = Math.max(last, Math.min(target.high, highest));
    if (low > high) return [target.low, target.high];
    if (!this.traces.isFitted) return [Math.min(target.low, low), Math.max(target.high, high)];
    const margin = 0.05 * (high - low) || 0.01 * (target.high - target.low) || 1;
    return [low - margin, high + margin];
  }

  isBeside(id) {
    return id !== "annotation" && id !== this.traces.mainId;
  }

  applyHeight() {
    const [min, max] = this.heights();
    this.charts[0].setScale("y", { min, max });
  }

  makeChart() {
    const { curves, band, summary, target } = this.shown;
    const series = [{}];
    const data = [this.traces.recording.times];
    // The last one drawn lies on top: the annotation, and below it the main curve.
    for (const { id, style, values } of curves.toReversed()) {
      series.push(this.curveOptions(style, this.isBeside(id)));
      data.push(withGaps(values));
    }
    const bands = [];
    if (band) {
      bands.push({ series: [series.length, series.length + 1], fill: () => COLOURS.band });
      for (const values of [band.high, band.low]) {
        series.push(seriesOptions(() => ({ stroke: "transparent", dash: [], width: 0 })));
        data.push(withGaps(values));
      }
    }
    const options = this.options(CHART_HEIGHT, this.heights(), series, !this.shown.error);
    options.bands = bands;
    options.hooks.drawAxes = [(chart) => this.shadeMissing(chart)];
    return this.mount(options, data, `${target.title}. ${summary}`);
  }

  /** Options of a curve; those beside the main one are coarse while they move. */
  curveOptions(style, isBeside) {
    const { dash, width } = style();
    const options = seriesOptions(style);
    const linear = uPlot.paths.linear();
    options.paths = (chart, position, first, last) => {
      // Where a curve goes up and down at every pixel dashes cannot be seen, and drawing them, or
      // lines wider than a pixel, takes many times as long.
      const perPixel = (last - first) / (chart.bbox.width / window.devicePixelRatio);
      chart.series[position].dash = perPixel > 0.5 ? [] : dash;
      chart.series[position].width = perPixel > 2 ? 1 : width;
      const draw = isBeside && this.traces.isCoarse ? coarsePath : linear;
      return draw(chart, position, first, last);
    };
    return options;
  }

  makeStrip() {
    const { error, target } = this.shown;
    const [low, high] = extremes([error]);
    const size = low > high ? 1 : Math.max(Math.abs(low), Math.abs(high)) || 1;
    const line = seriesOptions(() => ({ stroke: COLOURS.error, dash: [], width: 1 }));
    const series = [{}, { ...line, fill: () => COLOURS.error, fillTo: 0 }];
    const options = this.options(STRIP_HEIGHT, [-size, size], series, true);
    options.axes[1].splits = [-size, 0, size];
    options.axes[1].values = () => [shortText(-size, 2), "error", shortText(size, 2)];
    const title = `${target.title}: error, at most ${shortText(size)} in size`;
    return this.mount(options, [this.traces.recording.times, withGaps(error)], title);
  }

  /** uPlot's options that chart and strip share. */
  options(height, heights, series, hasTimes) {
    const { view, width } = this.traces;
    const font = "12px system-ui, sans-serif";
    const lines = { stroke: () => COLOURS.line, width: 1 };
    const times = {
      stroke: () => COLOURS.faint, grid: lines, ticks: { ...lines, size: 4 }, font,
      incrs: TIME_STEPS, size: hasTimes ? 26 : 6, space: 64,
      values: (chart, splits, axis, space, step) => timeLabels(splits, step, hasTimes),
    };
    const values = {
      stroke: () => COLOURS.faint, grid: lines, ticks: { ...lines, size: 4 }, font,
      size: AXIS_WIDTH, space: 28,
      values: (chart, splits) => splits.map((value) => String(value).replace("-", "−")),
    };
    return {
      width, height, series, axes: [times, values], hooks: {},
      scales: {
        x: { time: false, range: (chart, min, max) => [min ?? view.from, max ?? view.to] },
        y: { auto: false, range: heights },
      },
      legend: { show: false }, cursor: { show: false }, padding: [6, 16, 0, 0],
    };
  }

  mount(options, data, label) {
    const holder = element("div", "", { class: "chart", role: "img", "aria-label": label });
    this.element.append(holder);
    const chart = new uPlot(options, data, holder);
    const { from, to } = this.traces.view;
    chart.setScale("x", { min: from, max: to });
    chart.over.append(element("div", "", { class: "hover" }), element("div", "", { class: "now" }));
    return chart;
  }

  /** Shade the frames at which feature sets are missing, darker where several are. */
  shadeMissing(chart) {
    const { recording } = this.traces;
    const { left, top, width, height } = chart.bbox;
    const { ctx: context } = chart;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.fillStyle = COLOURS.missing;
    for (const ranges of Object.values(recording.content.missing ?? {})) {
      for (const [first, pastLast] of ranges) {
        const start = chart.valToPos(recording.times[first], "x", true);
        const end = chart.valToPos(recording.endOf(pastLast - 1), "x", true);
        if (end < left || start > left + width) continue;
        context.fillRect(start, top, Math.max(1, end - start), height);
      }
    }
    context.restore();
  }
}

/** uPlot's options of a curve; `style` is read when it is drawn, as the theme may change. */
function seriesOptions(style) {
  const { dash, width } = style();
  const points = { show: showLonePoints };
  return { stroke: () => style().stroke, dash, width, points, auto: false };
}

/** A path over every n-th point. */
function coarsePath(chart, position, first, last) {
  const path = new Path2D();
  const times = chart.data[0];
  const values = chart.data[position];
  const stride = Math.max(1, Math.floor((last - first) / COARSE_POINTS));
  let isDrawing = false;
  for (let frame = first - (first % stride); frame <= last; frame += stride) {
    const value = values[frame];
    if (value === null) {
      isDrawing = false;
      continue;
    }
    const x = chart.valToPos(times[frame], "x", true);
    const y = chart.valToPos(value, "y", true);
    if (isDrawing) path.lineTo(x, y);
    else path.moveTo(x, y);
    isDrawing = true;
  }
  return { stroke: path, fill: null, clip: null, flags: 1 };
}

/** Draw points where frames are far apart, or a curve of one frame would not be seen. */
function showLonePoints(chart, position, first, last) {
  const pixels = chart.bbox.width / window.devicePixelRatio;
  return (last - first + 1) * 14 < pixels;
}

/** Values as uPlot takes them: null for NaN, the array itself where it has none. */
function withGaps(values) {
  if (!values.some(Number.isNaN)) return values;
  return Array.from(values, (value) => (Number.isNaN(value) ? null : value));
}

/** Times of the axis, with as many decimals as its step needs. */
function timeLabels(splits, step, isShown) {
  if (!isShown) return splits.map(() => "");
  const decimals = step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step)));
  return splits.map((seconds) => clockText(seconds, decimals));
}
