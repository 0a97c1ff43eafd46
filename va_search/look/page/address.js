/* Address: the part behind # says recording, moment, target, curves and zoom; it opens there.

    #recording=P01_v3&t=12.34&target=valence&members=s1,s4&from=10&to=20

A recording goes by its name, or by its id where two have the same name. */

const WRITE_AFTER = 300; // milliseconds: browsers limit how often an address may change

class Address {
  /** `onChange(state)` is called when somebody changes the address. */
  constructor(index, onChange) {
    this.index = index;
    this.names = new Map(); // how many recordings have a name
    for (const { name } of index.recordings) this.names.set(name, (this.names.get(name) ?? 0) + 1);
    this.written = location.hash;
    addEventListener("hashchange", () => {
      if (location.hash !== this.written) onChange(this.read());
    });
  }

  /** {entry, time, target, members, view} of the address; null for what it doesn't say. */
  read() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    const wanted = parameters.get("recording");
    const { recordings, targets, series } = this.index;
    const isOnce = this.names.get(wanted) === 1;
    const entry = recordings.find(({ name, id }) => (isOnce ? name : id) === wanted) ?? null;
    const from = numberOf(parameters.get("from"));
    const to = numberOf(parameters.get("to"));
    const target = targets.find(({ name }) => name === parameters.get("target"))?.name ?? null;
    const known = series.map(({ id }) => id);
    const members = (parameters.get("members") ?? "").split(",").filter((id) => known.includes(id));
    return {
      wanted,
      entry,
      time: numberOf(parameters.get("t")),
      target,
      members: parameters.has("members") ? members : null,
      view: from !== null && to !== null && from < to ? { from, to } : null,
    };
  }

  /** The address's text for a state; times to the millisecond, rounded so that the view stays. */
  text({ entry, time, target, members, view }) {
    const parameters = new URLSearchParams();
    parameters.set("recording", this.names.get(entry.name) === 1 ? entry.name : entry.id);
    if (time !== null) parameters.set("t", rounded(time));
    if (target) parameters.set("target", target);
    if (members.length) parameters.set("members", members.join(","));
    if (view) {
      parameters.set("from", rounded(view.from));
      parameters.set("to", rounded(view.to));
    }
    return `#${parameters}`;
  }

  /** Write a state to the address soon, without a step in the history. */
  write(state) {
    this.state = state;
    this.timer ??= setTimeout(() => this.flush(), WRITE_AFTER);
  }

  /** Write it now; returns the whole address. */
  flush() {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.state) {
      this.written = this.text(this.state);
      history.replaceState(null, "", this.written);
      this.written = location.hash;
    }
    return location.href;
  }
}

function numberOf(text) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(number) ? number : null;
}

function rounded(seconds) {
  return String(Math.round(seconds * 1000) / 1000);
}
