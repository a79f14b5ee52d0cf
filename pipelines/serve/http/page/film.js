// The film strip. Each picture is drawn when its frame arrives: first from the preview, later from the refined video.

import {Feed, canFeed, isBuffered} from "./feed.js";

/** Draws single frames of a hidden video. */
class FrameGrabber {
  #video = document.createElement("video"); #feed; #fps; #wanted; #busy = false; #timer;

  /** `wanted` maps the number of a frame to the function that draws it. */
  constructor(numFrames, fps, wanted) {
    this.#video.muted = true;
    this.#video.preload = "auto";
    this.#video.disableRemotePlayback = true;
    this.#fps = fps;
    this.#wanted = wanted;
    this.#feed = new Feed(this.#video, numFrames / fps);
    for (const moment of ["progress", "loadeddata", "seeked"]) this.#video.addEventListener(moment, () => this.#look());
    this.#timer = setInterval(() => this.#look(), 250); // `progress` is not sent for every fragment
  }

  append(fragment) {
    this.#feed.append(fragment);
  }

  close() {
    clearInterval(this.#timer);
    this.#feed.close();
  }

  #look() {
    if (this.#busy || this.#video.readyState < 1) return;
    for (const [frame, draw] of this.#wanted) {
      const at = (frame + 0.5) / this.#fps;
      if (!isBuffered(this.#video, at)) continue;
      this.#busy = true;
      this.#wanted.delete(frame);
      this.#video.addEventListener("seeked", () => {
        draw(this.#video);
        this.#busy = false;
        // Frames are drawn in order, so only the current group of pictures is needed.
        this.#feed.forget(at - 48 / this.#fps);
        if (this.#wanted.size) this.#look();
        else this.close();
      }, {once: true});
      this.#video.currentTime = at;
      return;
    }
  }
}

export class Film {
  #strip; #grabbers = {};

  constructor(strip) {
    this.#strip = strip;
  }

  /** Starts the strip of a take with as many pictures as fit, evenly spaced. */
  attach(take) {
    this.detach();
    const height = parseFloat(getComputedStyle(this.#strip).getPropertyValue("--picture")) || 56;
    const fits = Math.floor(this.#strip.clientWidth / (height * (take.width / take.height) + 4));
    const count = Math.max(1, Math.min(Math.max(4, fits), 24, take.num_frames));
    const wanted = {low: new Map(), fine: new Map()};
    for (let i = 0; i < count; i++) {
      const canvas = document.createElement("canvas");
      canvas.dataset.state = "empty";
      this.#strip.append(canvas);
      const frame = Math.floor((i + 0.5) * take.num_frames / count);
      for (const name of ["low", "fine"]) wanted[name].set(frame, (video) => draw(canvas, video, name));
    }
    if (!canFeed) return;
    for (const name of ["low", "fine"]) {
      this.#grabbers[name] = new FrameGrabber(take.num_frames, take.fps, wanted[name]);
    }
  }

  append(name, fragment) {
    this.#grabbers[name]?.append(fragment);
  }

  detach() {
    for (const grabber of Object.values(this.#grabbers)) grabber.close();
    this.#grabbers = {};
    this.#strip.replaceChildren();
  }
}

function draw(canvas, video, name) {
  if (name === "low" && canvas.dataset.state === "fine") return;
  if (!video.videoWidth) return;
  const scale = Math.min(1, 160 / video.videoHeight);
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  canvas.dataset.state = name;
}
