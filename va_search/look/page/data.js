/* Data: the folder's files, loaded as scripts, and their arrays, decoded when they are shown.

Conventions: a page opened from the disk may not fetch files, but it may load scripts; each of them
calls `vaLook.index` or `vaLook.recording`. Arrays are little-endian float32 or float64, their bytes
grouped by significance, deflated, in base64. Times are seconds of the store's clock. */

const FORMAT = 1;
const MOST_RECORDINGS = 4; // kept decoded; a recording may take several megabytes

/** Load one script file of the folder; rejects with a sentence where there is none. */
function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = () => {
      script.remove();
      resolve();
    };
    script.onerror = () => {
      script.remove();
      const advice = "copy the whole folder, or make it again";
      reject(new Error(`${path} is not there or cannot be read: ${advice}`));
    };
    document.head.append(script);
  });
}

/** The bytes of base64 text. */
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

/** The bytes of deflated base64 text. */
async function inflate(text) {
  const packed = new Blob([bytesOf(text)]).stream();
  const stream = packed.pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A Float32Array or Float64Array out of an ARRAY of the format. */
async function decodeArray(array) {
  const width = array.type === "f8" ? 8 : 4;
  const bytes = await inflate(array.deflate);
  if (bytes.length !== width * array.length) {
    throw new Error(`an array has ${bytes.length} bytes, expected ${width * array.length}`);
  }
  const ordered = array.shuffled ? unshuffled(bytes, width) : bytes;
  return width === 8 ? new Float64Array(ordered.buffer) : new Float32Array(ordered.buffer);
}

/** The bytes number by number, out of all first bytes, then all second ones, and so on. */
function unshuffled(bytes, width) {
  const count = bytes.length / width;
  const ordered = new Uint8Array(bytes.length);
  for (let significance = 0; significance < width; significance++) {
    const start = significance * count;
    for (let number = 0; number < count; number++) {
      ordered[number * width + significance] = bytes[start + number];
    }
  }
  return ordered;
}

/** The folder: its index, and the recordings that were looked at last. */
class Folder {
  constructor() {
    this.index = null;
    this.recordings = new Map(); // promises by id, the oldest first
    this.arrived = new Map(); // contents by id, until their script has ended
    window.vaLook = {
      index: (content) => { this.index = content; },
      recording: (id, content) => { this.arrived.set(id, content); },
    };
  }

  /** Load the index; rejects where it is missing or of another format. */
  async open() {
    await loadScript("data/index.js");
    if (this.index === null) throw new Error("data/index.js is empty: make the folder again");
    if (this.index.format !== FORMAT) {
      const { format } = this.index;
      throw new Error(`data/index.js has format ${format}, and this page reads ${FORMAT}`);
    }
    return this.index;
  }

  /** The recording of an entry of the index; loads its file where it isn't at hand. */
  recording(entry) {
    let promise = this.recordings.get(entry.id);
    if (promise === undefined) {
      promise = this.load(entry);
      promise.catch(() => this.recordings.delete(entry.id));
    }
    this.recordings.delete(entry.id); // and in again, as the newest
    this.recordings.set(entry.id, promise);
    if (this.recordings.size > MOST_RECORDINGS) {
      this.recordings.delete(this.recordings.keys().next().value);
    }
    return promise;
  }

  async load(entry) {
    await loadScript(entry.file);
    const content = this.arrived.get(entry.id);
    this.arrived.delete(entry.id);
    if (content === undefined) {
      throw new Error(`${entry.file} holds no recording ${entry.id}: make the folder again`);
    }
    // The folder may have been made again while this page was open: its numbers then stand for
    // other recordings or other curves.
    if (content.made !== undefined && content.made !== this.index.made) {
      throw new Error("the folder was made again since this page was opened: reload the page");
    }
    const recording = new LoadedRecording(entry, content, this.index);
    await recording.readTimes();
    return recording;
  }
}

/** One recording with its arrays, each decoded when it is asked for first. */
class LoadedRecording {
  constructor(entry, content, index) {
    this.entry = entry;
    this.content = content;
    this.targets = index.targets.filter(({ name }) => this.hasTarget(name));
    this.frames = content.frames;
    this.decoded = new Map();
    this.times = null; // seconds, increasing, for the screen
    this.written = null; // seconds as the store has them, NaN where it has none
  }

  hasTarget(name) {
    const curves = Object.values(this.content.series);
    return name in this.content.annotation || curves.some((curve) => name in curve);
  }

  async readTimes() {
    const { rate, start, times } = this.content;
    if (times) {
      this.written = await this.decode(times);
      this.times = increasingTimes(this.written);
    } else {
      this.times = new Float64Array(this.frames);
      for (let frame = 0; frame < this.frames; frame++) {
        this.times[frame] = start + (rate ? frame / rate : frame);
      }
      this.written = this.times;
    }
  }

  /** An array of the file, decoded once. */
  decode(array) {
    if (!this.decoded.has(array)) this.decoded.set(array, decodeArray(array));
    return this.decoded.get(array);
  }

  /** The target's annotation (frames,), or null. */
  async annotation(target) {
    const array = this.content.annotation[target];
    return array ? this.decode(array) : null;
  }

  /** The target's values of a series (frames,), or null. */
  async series(id, target) {
    const array = this.content.series[id]?.[target];
    return array ? this.decode(array) : null;
  }

  /** The raters' band {low, high, text} of a target, or null. */
  async raters(target) {
    const band = this.content.raters?.[target];
    if (!band) return null;
    const [low, high] = await Promise.all([this.decode(band.low), this.decode(band.high)]);
    return { low, high, text: band.text };
  }

  /** The type of an array, for exact texts. */
  typeOf(id, target) {
    const arrays = id === "annotation" ? this.content.annotation : this.content.series[id];
    return arrays[target].type;
  }

  /** The frame nearest to a time. */
  frameAt(time) {
    let low = 0;
    let high = this.frames - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.times[middle] <= time) low = middle;
      else high = middle;
    }
    return time - this.times[low] <= this.times[high] - time ? low : high;
  }

  /** The middle distance of frames in seconds. */
  get step() {
    if (this.frames < 2) return 1;
    return (this.times[this.frames - 1] - this.times[0]) / (this.frames - 1);
  }

  /** The time a frame ends: that of the next one. */
  endOf(frame) {
    if (frame + 1 < this.frames) return this.times[frame + 1];
    return this.times[this.frames - 1] + this.step;
  }

  /** Names of the feature sets that are missing at a frame. */
  missingAt(frame) {
    const names = [];
    for (const [name, ranges] of Object.entries(this.content.missing ?? {})) {
      if (ranges.some(([first, pastLast]) => first <= frame && frame < pastLast)) names.push(name);
    }
    return names;
  }
}

/** Times a curve can be drawn along: gaps filled evenly; frame numbers where times go back. */
function increasingTimes(written) {
  const times = Float64Array.from(written);
  const known = [];
  for (let frame = 0; frame < times.length; frame++) {
    if (!Number.isNaN(times[frame])) known.push(frame);
  }
  const isRising = known.every((frame, index) => {
    return index === 0 || times[known[index - 1]] <= times[frame];
  });
  if (known.length === 0 || !isRising) return times.map((_, frame) => frame);
  const span = times[known.at(-1)] - times[known[0]];
  const step = known.length > 1 ? span / (known.at(-1) - known[0]) : 1;
  let before = -1; // index in `known` of the last time that is there
  for (let frame = 0; frame < times.length; frame++) {
    if (known[before + 1] === frame) {
      before += 1;
      continue;
    }
    const left = known[before];
    const right = known[before + 1];
    if (left === undefined) times[frame] = times[right] - (right - frame) * step;
    else if (right === undefined) times[frame] = times[left] + (frame - left) * step;
    else {
      const share = (frame - left) / (right - left);
      times[frame] = times[left] + share * (times[right] - times[left]);
    }
  }
  return times;
}
