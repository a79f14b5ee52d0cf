// The strip of pictures: each is drawn as soon as its frame is there, from the preview and later from the refined one.

import {Feed, canFeed, holds} from "./feed.js";

/** Takes single frames out of a video that nobody sees. */
class Scout {
  #video = document.createElement("video"); #feed; #fps; #wanted; #busy = false; #isSlow;

  /** `wanted` maps a frame's number to what draws it. */
  constructor(numFrames, fps, wanted) {
    this.#video.muted = true;
    this.#video.preload = "auto";
    this.#video.disableRemotePlayback = true;
    this.#fps = fps;
    this.#wanted = wanted;
    this.#feed = new Feed(this.#video, numFrames / fps);
    for (const moment of ["progress", "loadeddata", "seeked"]) this.#video.addEventListener(moment, () => this.#look());
    this.#isSlow = setInterval(() => this.#look(), 250); // `progress` does not come for every piece
  }

  append(fragment) {
    this.#feed.append(fragment);
  }

  close() {
    clearInterval(this.#isSlow);
    this.#feed.close();
  }

  #look() {
    if (this.#busy || this.#video.readyState < 1) return;
    for (const [frame, draw] of this.#wanted) {
      const at = (frame + 0.5) / this.#fps;
      if (!holds(this.#video, at)) continue;
      this.#busy = true;
      this.#wanted.delete(frame);
      this.#video.addEventListener("seeked", () => {
        draw(this.#video);
        this.#busy = false;
        // Drawn in order: what is behind is of no use, but for the group of pictures that it stands in.
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
  #strip; #scouts = {};

  constructor(strip) {
    this.#strip = strip;
  }

  /** As many pictures as fit, evenly spaced. */
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
    for (const name of ["low", "fine"]) this.#scouts[name] = new Scout(take.num_frames, take.fps, wanted[name]);
  }

  append(name, fragment) {
    this.#scouts[name]?.append(fragment);
  }

  detach() {
    for (const scout of Object.values(this.#scouts)) scout.close();
    this.#scouts = {};
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
