// Which refined frames were shown, so that the player can go back to the others.

const AGAIN_FRAMES = 4; // fewer are not worth going back for

/** The refined frames that were on the screen. */
export class Seen {
  #frames; #last = -1;

  constructor(numFrames) {
    this.#frames = new Uint8Array(numFrames);
  }

  /** Adds a frame, and those before it that a busy browser has passed over. */
  add(frame) {
    const isNext = frame > this.#last && frame - this.#last <= AGAIN_FRAMES;
    this.#frames.fill(1, isNext ? this.#last + 1 : frame, frame + 1);
    this.#last = frame;
  }

  /** The first of a run of frames that are there and were not seen; null if there is none that is long enough. */
  gap(isThere) {
    let length = 0;
    for (let frame = 0; frame < this.#frames.length; frame++) {
      length = this.#frames[frame] || !isThere(frame) ? 0 : length + 1;
      if (length === AGAIN_FRAMES) return frame - length + 1;
    }
    return null;
  }
}
