// Fragments into a <video> by Media Source; where there is none, the video gets an address.

import {mediaType} from "./boxes.js";

const Source = window.ManagedMediaSource ?? window.MediaSource;
const HLS = "application/vnd.apple.mpegurl";
const KEEP_S = 10; // that stays behind the position when the browser's memory is full

/** Fragments can be fed. */
export const canFeed = Boolean(Source?.isTypeSupported('video/mp4; codecs="avc1.64000c"'));

/** Where a video that cannot be fed gets its refined pictures from. */
export function address(id, isMade) {
  if (isMade) return `/v1/videos/${id}/content`;
  const hasHls = document.createElement("video").canPlayType(HLS);
  return hasHls ? `/v1/videos/${id}/hls/playlist.m3u8` : `/v1/videos/${id}/stream`;
}

/** One video that plays what it is given, piece after piece. */
export class Feed {
  #video; #source = new Source(); #buffer = null; #queue = []; #isOpen = false; #ended = false;

  /** `seconds` is how long the whole will be. */
  constructor(video, seconds) {
    this.#video = video;
    this.#source.addEventListener("sourceopen", () => {
      if (this.#source.readyState !== "open") return; // closed a moment ago
      this.#source.duration = seconds;
      this.#isOpen = true;
      this.#pump();
    }, {once: true}); // it opens again when something is removed after the end
    video.src = URL.createObjectURL(this.#source);
  }

  append(fragment) {
    this.#queue.push(fragment);
    this.#pump();
  }

  /** Nothing comes after what was appended. */
  end() {
    this.#ended = true;
    this.#pump();
  }

  /** Gives memory back. */
  forget(seconds) {
    if (this.#buffer && !this.#buffer.updating && seconds > 0) this.#buffer.remove(0, seconds);
  }

  close() {
    this.#queue = [];
    URL.revokeObjectURL(this.#video.src);
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #pump() {
    if (!this.#isOpen || this.#source.readyState === "closed" || this.#buffer?.updating) return;
    const [next] = this.#queue;
    if (next === undefined) {
      if (this.#ended && this.#buffer && this.#source.readyState === "open") this.#source.endOfStream();
      return;
    }
    if (!this.#buffer) {
      this.#buffer = this.#source.addSourceBuffer(mediaType(next));
      this.#buffer.addEventListener("updateend", () => this.#pump());
    }
    try {
      this.#buffer.appendBuffer(next);
      this.#queue.shift();
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      const before = this.#video.currentTime - KEEP_S;
      if (before > 0) this.#buffer.remove(0, before); // its `updateend` tries again
      else setTimeout(() => this.#pump(), 1000);
    }
  }
}

/** Frames at `seconds` and a little after it can be shown. */
export function holds(video, seconds, span = 0.001) {
  const ranges = video.buffered;
  for (let i = 0; i < ranges.length; i++) {
    if (ranges.start(i) - 0.02 <= seconds && seconds + span <= ranges.end(i) + 0.02) return true;
  }
  return false;
}

/** The end of what can be shown, in seconds. */
export function endOf(video) {
  return video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0;
}
