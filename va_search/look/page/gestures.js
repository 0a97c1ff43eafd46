/* Gestures: wheel, pointer and fingers on the charts.

Wheel zooms around the pointer, sideways it pans; where all is in sight it scrolls on. A drag pans; with Shift it zooms into the range.
Two fingers zoom. A click without a drag seeks, a double click shows the whole. */

const CLICK_PIXELS = 4; // a pointer that moved less has clicked
const WHEEL_ZOOM = 0.0015; // per pixel of the wheel; a notch of 100 pixels is 16 %

class Gestures {
  /** `actions`: seek(time), hover(time or null), of the page. */
  constructor(traces, actions) {
    this.traces = traces;
    this.actions = actions;
    this.pointers = new Map(); // x on the page by pointer
    this.drag = null;
  }

  /** Listen on the charts as they are now. */
  attach() {
    for (const chart of this.traces.charts) {
      const area = chart.over;
      area.addEventListener("wheel", (event) => this.onWheel(event, chart), { passive: false });
      area.addEventListener("pointerdown", (event) => this.onDown(event, chart));
      area.addEventListener("pointermove", (event) => this.onMove(event, chart));
      area.addEventListener("pointerup", (event) => this.onUp(event, chart));
      area.addEventListener("pointercancel", (event) => this.onCancel(event, chart));
      area.addEventListener("pointerleave", () => this.actions.hover(null));
      area.addEventListener("dblclick", () => this.traces.showWhole());
    }
  }

  timeAt(event, chart) {
    const left = event.clientX - chart.over.getBoundingClientRect().left;
    return chart.posToVal(left, "x");
  }

  secondsPerPixel(chart) {
    const { from, to } = this.traces.view;
    return (to - from) / chart.over.clientWidth;
  }

  onWheel(event, chart) {
    const isSideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
    // Nothing is farther than the whole: the page scrolls, or one could not leave the charts.
    if (!isSideways && event.deltaY > 0 && this.traces.isWhole) return;
    event.preventDefault();
    if (isSideways) {
      const pixels = event.deltaX || event.deltaY;
      this.traces.pan(pixels / chart.over.clientWidth);
      return;
    }
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
    this.traces.zoom(Math.exp(event.deltaY * lines * WHEEL_ZOOM), this.timeAt(event, chart));
  }

  onDown(event, chart) {
    if (event.button !== 0) return;
    chart.over.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event.clientX);
    const isSecond = this.pointers.size === 2;
    this.drag = {
      x: event.clientX,
      view: { ...this.traces.view },
      isSelecting: event.shiftKey && !isSecond,
      isPinch: isSecond,
      fingers: [...this.pointers.values()],
      hasMoved: isSecond, // lifting two fingers is no click
    };
  }

  onMove(event, chart) {
    if (!this.pointers.has(event.pointerId)) {
      this.actions.hover(this.timeAt(event, chart));
      return;
    }
    this.pointers.set(event.pointerId, event.clientX);
    const { drag } = this;
    if (Math.abs(event.clientX - drag.x) >= CLICK_PIXELS) drag.hasMoved = true;
    if (!drag.hasMoved) return;
    if (drag.isPinch) this.pinch(chart);
    else if (drag.isSelecting) this.select(event, chart);
    else {
      const seconds = (drag.x - event.clientX) * this.secondsPerPixel(chart);
      this.traces.setView(drag.view.from + seconds, drag.view.to + seconds);
    }
  }

  /** Zoom so that both fingers stay on the times they were put on. */
  pinch(chart) {
    const fingers = [...this.pointers.values()];
    if (fingers.length !== 2) return;
    const { left, width } = chart.over.getBoundingClientRect();
    const { view } = this.drag;
    const seconds = (pixels) => view.from + ((pixels - left) / width) * (view.to - view.from);
    const [before, after] = [this.drag.fingers, fingers];
    const factor = (before[1] - before[0]) / (after[1] - after[0] || 1);
    if (factor <= 0) return;
    const middle = seconds((before[0] + before[1]) / 2);
    const share = ((after[0] + after[1]) / 2 - left) / width;
    const span = (view.to - view.from) * factor;
    this.traces.setView(middle - share * span, middle + (1 - share) * span);
  }

  select(event, chart) {
    const bounds = chart.over.getBoundingClientRect();
    const ends = [this.drag.x - bounds.left, event.clientX - bounds.left];
    const left = Math.max(0, Math.min(...ends));
    const right = Math.min(bounds.width, Math.max(...ends));
    const width = right - left;
    for (const { over, setSelect } of this.traces.charts) {
      setSelect({ left, top: 0, width, height: over.clientHeight }, false);
    }
    this.drag.selection = [chart.posToVal(left, "x"), chart.posToVal(right, "x")];
  }

  onUp(event, chart) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { drag } = this;
    if (this.pointers.size > 0) return; // the other finger is still down
    this.drag = null;
    if (drag.selection) {
      this.clearSelection();
      this.traces.setView(...drag.selection);
    } else if (!drag.hasMoved) {
      this.actions.seek(this.timeAt(event, chart));
    }
  }

  onCancel(event) {
    this.pointers.delete(event.pointerId);
    this.clearSelection();
  }

  clearSelection() {
    for (const chart of this.traces.charts) {
      chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    }
  }
}
