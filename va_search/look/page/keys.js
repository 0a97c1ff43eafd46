/* Keys: everything the mouse does, and the list of it. */

/** A key: `names` as KeyboardEvent.key has them, `title` for the list, `run(event)`. */
class Key {
  constructor(names, shown, title, run) {
    this.names = names;
    this.shown = shown;
    this.title = title;
    this.run = run;
  }
}

const MOUSE = [
  ["Click", "Go to this moment, in the video too"],
  ["Drag", "Move along the time line"],
  ["Shift + drag", "Zoom into the range"],
  ["Wheel, two fingers", "Zoom; sideways or with Shift: move"],
  ["Double click", "Whole recording"],
];

/** The keys of a page. */
function keysOf(page) {
  const { list, traces, player } = page;
  const direction = (event) => (event.key.includes("Left") ? -1 : 1);
  return [
    new Key(["n"], "n", "Next recording", () => list.move(1)),
    new Key(["p"], "p", "Previous recording", () => list.move(-1)),
    new Key(["/"], "/", "Filter the recordings", () => list.search.focus()),
    new Key([" "], "Space", "Play or pause", () => player.toggle()),
    new Key(["ArrowLeft", "ArrowRight"], "← →", "One frame; with Shift: one second", (event) => {
      page.step(direction(event), event.shiftKey);
    }),
    new Key(["Home"], "Home", "First frame", () => page.seek(traces.whole.from)),
    new Key(["End"], "End", "Last frame", () => page.seek(traces.whole.to)),
    new Key(["+", "="], "+", "Zoom in", () => page.zoom(0.5)),
    new Key(["-", "_"], "−", "Zoom out", () => page.zoom(2)),
    new Key(["0"], "0", "Whole recording", () => traces.showWhole()),
    new Key([",", "["], ", or [", "Move the view left", () => traces.pan(-0.25)),
    new Key([".", "]"], ". or ]", "Move the view right", () => traces.pan(0.25)),
    new Key(["w"], "w", "The worst ten seconds of the target", () => page.goToWorst(page.target)),
    new Key(["t"], "t", "Next target", () => page.nextTarget()),
    new Key(["f"], "f", "Fit the height, or show the target's whole range", () => page.toggleFit()),
    new Key(["v"], "v", "Go to the curves and their values", () => page.focusValues()),
    new Key(["a"], "a", "All curves, or the main one only", () => page.values.toggleAll()),
    new Key(["c"], "c", "Copy the link to this moment", () => page.copyLink()),
    new Key(["e"], "e", "Export", () => page.openExport()),
    new Key(["l"], "l", "Light, dark or the system's theme", () => page.theme.next()),
    new Key(["?"], "?", "This list", () => page.showKeys()),
  ];
}

class Keys {
  constructor(page) {
    this.keys = keysOf(page);
    const body = document.querySelector("#keys tbody");
    for (const { shown, title } of this.keys) body.append(keyRow(shown, title));
    for (const [shown, title] of MOUSE) body.append(keyRow(shown, title));
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      closeMenus();
      if (event.target.matches("input, select")) event.target.blur();
      return;
    }
    if (isTyping(event)) return;
    const key = this.keys.find(({ names }) => names.includes(event.key));
    if (key === undefined) return;
    event.preventDefault();
    key.run(event);
  }
}

/** True where a key belongs to the element that has the focus. */
function isTyping({ target, key }) {
  if (target.matches("input:not([type=checkbox]), select, textarea")) return true;
  const isPressed = key === " " || key === "Enter";
  if (isPressed && target.matches("button, summary, input, a")) return true;
  return target.matches("audio, video") && (isPressed || key.startsWith("Arrow"));
}

function closeMenus() {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
}

function keyRow(shown, title) {
  const row = element("tr");
  const head = element("th", "", { scope: "row" });
  head.append(element("kbd", shown));
  row.append(head, element("td", title));
  return row;
}
