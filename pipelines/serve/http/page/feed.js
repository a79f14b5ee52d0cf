// Feeds fragments to a <video> through Media Source. Without Media Source the video gets a URL.

import {mediaType} from "./boxes.js";

const Source = window.ManagedMediaSource ?? window.MediaSource;
const HLS = "application/vnd.apple.mpegurl";
const KEEP_S = 10; // kept before the position when the browser's memory is full

/** Whether the browser supports Media Source with H.264. */
export const canFeed = Boolean(Source?.isTypeSupported('video/mp4; codecs="avc1.64000c"'));

/** The URL of the refined video, for browsers without Media Source. */
export function address(id, isMade) {
  if (isMade) return `/v1/videos/${id}/content`;
  const hasHls = document.createElement("video").canPlayType(HLS);
  return hasHls ? `/v1/videos/${id}/hls/playlist.m3u8` : `/v1/videos/${id}/stream`;
}

/** Appends fragments to one video element, in order. */
export class Feed {
  #video; #source = new Source(); #buffer = null; #queue = []; #isOpen = false; #ended = false;

  /** `seconds` is the length of the finished video. */
  constructor(video, seconds) {
    this.#video = video;
    this.#source.addEventListener("sourceopen", () => {
      if (this.#source.readyState !== "open") return; // closed meanwhile
      this.#source.duration = seconds;
      this.#isOpen = true;
      this.#pump();
    }, {once: true}); // it opens again when a range is removed after the end
    video.src = URL.createObjectURL(this.#source);
  }

  append(fragment) {
    this.#queue.push(fragment);
    this.#pump();
  }

  /** Marks the end of the stream. */
  end() {
    this.#ended = true;
    this.#pump();
  }

  /** Frees the first `seconds` of the buffer. */
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

/** Whether the range from `seconds` to `seconds + span` is buffered. */
export function isBuffered(video, seconds, span = 0.001) {
  const ranges = video.buffered;
  for (let i = 0; i < ranges.length; i++) {
    if (ranges.start(i) - 0.02 <= seconds && seconds + span <= ranges.end(i) + 0.02) return true;
  }
  return false;
}

/** The end of the buffer, in seconds. */
export function bufferedEnd(video) {
  return video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0;
}
