/* Player: the recording's video or sound, on the time line's clock.

Conventions: the medium's clock is the store's plus `media_offset` seconds. */

const SOUNDS = /\.(wav|mp3|m4a|aac|ogg|oga|opus|flac|weba)$/i;
const CONVERT = "ffmpeg -i FILE -c:v libx264 -pix_fmt yuv420p -c:a aac NEW.mp4";

class Player {
  /** `onTime(time)` is called while it plays, and after a seek by its own controls. */
  constructor(holder, button, onTime) {
    this.holder = holder;
    this.button = button;
    this.onTime = onTime;
    this.element = null;
    this.offset = 0;
  }

  /** Show the medium of an entry of the index, or nothing where it has none. */
  show(entry) {
    this.close();
    this.offset = entry.media_offset ?? 0;
    if (entry.media_note) this.note(entry.media_note);
    this.button.hidden = !entry.media;
    if (!entry.media) return;
    const path = entry.media.split(/[?#]/)[0];
    const isSound = SOUNDS.test(path);
    const medium = document.createElement(isSound ? "audio" : "video");
    medium.controls = true;
    medium.preload = "metadata";
    medium.playsInline = true;
    medium.setAttribute("aria-label", `${isSound ? "Sound" : "Video"} of ${entry.name}`);
    medium.addEventListener("error", () => this.tellError(entry.media));
    medium.addEventListener("play", () => this.follow());
    medium.addEventListener("pause", () => this.showState());
    medium.addEventListener("seeked", () => this.tell());
    medium.src = entry.media;
    this.element = medium;
    this.holder.prepend(medium);
    this.showState();
  }

  close() {
    if (this.element) {
      this.element.pause();
      this.element.removeAttribute("src"); // frees what was buffered
      this.element.load();
    }
    this.element = null;
    this.holder.replaceChildren();
    this.showState();
  }

  note(text) {
    this.holder.append(element("p", text, { class: "faint" }));
  }

  tellError(address) {
    if (!this.element?.hasAttribute("src")) return; // closed
    let name = address;
    try {
      name = decodeURIComponent(address);
    } catch {
      // Not percent-encoded: as it is.
    }
    this.element.remove();
    this.element = null;
    this.button.hidden = true;
    this.note(`${name} is not there, or this browser cannot play it. To convert it: ${CONVERT}`);
  }

  get isPlaying() {
    return this.element !== null && !this.element.paused && !this.element.ended;
  }

  showState() {
    this.button.textContent = this.isPlaying ? "❚❚ Pause" : "▶ Play";
  }

  toggle() {
    if (this.element === null) return;
    if (this.isPlaying) this.element.pause();
    else this.element.play().catch(() => this.showState()); // told by the error event
  }

  /** Go to a time of the store's clock. */
  seek(time) {
    if (this.element === null) return;
    this.wanted = Math.max(0, time + this.offset);
    this.element.currentTime = this.wanted;
  }

  tell() {
    if (this.element === null) return;
    // After a seek of ours the page has the time already, exactly; the medium rounds it.
    const isOurs = this.wanted !== null && Math.abs(this.element.currentTime - this.wanted) < 0.1;
    this.wanted = null;
    if (!isOurs) this.onTime(this.element.currentTime - this.offset);
  }

  /** Move the cursor along, once a frame of the screen. */
  follow() {
    this.showState();
    if (!this.isPlaying) return;
    this.onTime(this.element.currentTime - this.offset);
    requestAnimationFrame(() => this.follow());
  }
}
