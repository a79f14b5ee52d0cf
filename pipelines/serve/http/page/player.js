// Two videos, one picture: the low-resolution preview plays at once, the refined one takes over at the same position.
//
//     preview   0 =============================>            made first
//     refined   0 ==============>                           made after it
//     shown     [refined       ][preview      ][waits
//
// 1. Mode "auto" shows the refined video where it is buffered, otherwise the preview; "low" and "fine" show one only.
//    A finished video opens with the refined picture.
// 2. Where neither is buffered, the picture stops until frames arrive. Until then, mode "auto" goes back and plays
//    refined frames that were not shown yet.
// 3. At the end playback starts again if `loops` is set.

import {Feed, address, canFeed, bufferedEnd, isBuffered} from "./feed.js";
import {Seen} from "./seen.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");
const EDGE_S = 0.05; // a browser stalls this long before the end of its buffer
const EDGE_MS = 400; // of waiting, before the picture goes back
const AGAIN_MS = 2000; // how long the replay is announced

export class Player {
  #videos; #feeds = {}; #take = null; #shown = "low"; #moving = null; #wanted = null;
  #token = 0; #sawPicture = {}; #blends = false; #has = {}; #opensFine = false;
  #seen = new Seen(0); #atEdge = 0; #again = 0; // the last two are times in ms, 0 for never

  /** `low`, `fine`: the video elements. Calls `on.tick(state)` per screen refresh, `on.picture(name)` once for each. */
  constructor(low, fine, on) {
    this.#videos = {low, fine};
    this.on = on;
    this.mode = "auto";
    this.loops = true;
    this.isPlaying = false;
    for (const [name, video] of Object.entries(this.#videos)) {
      video.addEventListener("loadeddata", () => this.#first(name));
      video.addEventListener("error", () => { if (name === "fine") this.#opensFine = false; });
      video.addEventListener("ended", () => { if (name === this.#shown) this.#atEnd(); });
    }
    const step = () => { this.#step(); requestAnimationFrame(step); };
    requestAnimationFrame(step);
  }

  /** Starts another take at its first frame. */
  attach(take) {
    this.detach();
    this.#take = take;
    this.#opensFine = take.status === "completed";
    this.#shown = this.#opensFine ? "fine" : "low";
    this.#sawPicture = {};
    this.#has = {};
    this.#seen = new Seen(take.num_frames);
    this.#atEdge = this.#again = 0;
    this.isPlaying = !still.matches;
    if (canFeed) {
      const seconds = take.num_frames / take.fps;
      this.#feeds = {low: new Feed(this.#videos.low, seconds), fine: new Feed(this.#videos.fine, seconds)};
    }
  }

  detach() {
    this.#token++;
    this.#moving = null;
    this.#wanted = null;
    for (const feed of Object.values(this.#feeds)) feed.close();
    this.#feeds = {};
    for (const video of Object.values(this.#videos)) {
      video.pause();
      video.removeAttribute("src");
      video.load();
    }
    this.#take = null;
  }

  append(name, fragment) {
    this.#has[name] = true;
    this.#feeds[name]?.append(fragment);
  }

  end(name) {
    if (!this.#has.fine && name === "fine") this.#opensFine = false; // its files are gone
    this.#feeds[name]?.end();
  }

  /** Without Media Source: sets the URL of a video once it has frames, and again when it is finished. */
  setAddress(name, isMade) {
    const video = this.#videos[name], id = this.#take.id;
    const src = name === "low" ? `/v1/videos/${id}/preview` : address(id, isMade);
    if (video.getAttribute("src") === src) return;
    const at = video.currentTime;
    video.src = src;
    if (at) video.currentTime = at;
  }

  get seconds() {
    return this.#wanted ?? this.#videos[this.#shown].currentTime;
  }

  play() {
    if (this.#take && this.seconds >= this.#duration - 0.5 / this.#take.fps) this.seek(0);
    this.isPlaying = true;
  }

  pause() {
    this.isPlaying = false;
    for (const video of Object.values(this.#videos)) video.pause();
  }

  /** Seeks to `seconds`, at most to the last frame that exists. */
  seek(seconds) {
    const last = Math.max(...Object.values(this.#videos).map(bufferedEnd)) - 0.5 / (this.#take?.fps ?? 8);
    this.#wanted = Math.max(0, Math.min(seconds, last));
  }

  get #duration() {
    return this.#take.num_frames / this.#take.fps;
  }

  #first(name) {
    if (this.#sawPicture[name] || !this.#take) return;
    this.#sawPicture[name] = true;
    if (name === "fine") this.#opensFine = false;
    this.on.picture(name);
  }

  #choose(seconds) {
    if (this.mode !== "auto") return this.mode;
    if (this.#opensFine) return "fine";
    if (this.#isFine(seconds)) return "fine";
    if (isBuffered(this.#videos.low, seconds)) return "low";
    return this.#shown;
  }

  /** Whether the refined video can be played at `seconds`: a single frame of it would flicker. */
  #isFine(seconds) {
    const frame = 1 / this.#take.fps, isLast = seconds + frame + Math.max(frame, EDGE_S) >= this.#duration;
    return isBuffered(this.#videos.fine, seconds, isLast ? 0.001 : frame + EDGE_S);
  }

  #step() {
    if (!this.#take) return;
    const at = this.seconds, name = this.#choose(at), video = this.#videos[name];
    const isThere = isBuffered(video, at);
    if (!this.#moving && isThere && (name !== this.#shown || this.#wanted !== null)) this.#move(name, at);
    const shown = this.#videos[this.#shown], isElsewhere = this.#wanted !== null && !this.#moving;
    if (isElsewhere) shown.pause();
    else if (this.isPlaying && !this.#moving && shown.paused && shown.readyState >= 2 && !shown.ended) this.#run(shown);
    if (this.isPlaying && at >= this.#duration - 0.25 / this.#take.fps) this.#atEnd();
    const isSeen = this.#wanted === null && this.#moving !== this.#shown; // until the preview is there, it plays on
    if (this.#shown === "fine" && isSeen) this.#seen.add(Math.floor(at * this.#take.fps + 0.001));
    const waits = this.isPlaying && !this.#moving && (isElsewhere || !(shown.readyState >= 3 || shown.ended));
    this.#goBack(at, waits);
    this.on.tick({
      seconds: at,
      shown: this.#sawPicture[this.#shown] ? this.#shown : "",
      blends: this.#blends,
      width: shown.videoWidth,
      height: shown.videoHeight,
      waits,
      isAgain: this.#shown === "fine" && performance.now() - this.#again < AGAIN_MS && this.#again > 0,
    });
  }

  /** Goes back to refined frames that were not shown, while the picture waits at the end of what is made. */
  #goBack(at, waits) {
    const {fps} = this.#take, now = performance.now();
    const isEdge = waits && this.mode === "auto" && !isBuffered(this.#videos[this.#shown], at, EDGE_S + 2 / fps);
    if (!isEdge) this.#atEdge = 0;
    else this.#atEdge ||= now;
    if (!isEdge || now - this.#atEdge < EDGE_MS) return;
    const frame = this.#seen.gap((one) => this.#isFine((one + 0.5) / fps));
    if (frame === null) return;
    this.#atEdge = 0;
    this.#again = now;
    this.seek((frame + 0.5) / fps);
  }

  #run(video) {
    video.play().catch((error) => {
      if (error.name === "NotAllowedError") this.isPlaying = false; // the browser requires a click first
    });
  }

  /** Shows a video at `seconds` as soon as it has decoded that frame. */
  async #move(name, seconds) {
    const token = ++this.#token, before = this.#videos[this.#shown], video = this.#videos[name];
    this.#moving = name;
    this.#blends = this.#wanted === null; // the same moment gets sharper: cross-fade
    this.#wanted = null;
    if (video !== before || Math.abs(video.currentTime - seconds) > 0.001) {
      video.currentTime = seconds;
      await seeked(video);
    }
    if (token !== this.#token) return;
    this.#shown = name;
    this.#moving = null;
    if (video !== before) before.pause();
  }

  #atEnd() {
    if (!this.isPlaying) return;
    if (this.loops) this.seek(0);
    else this.pause();
  }
}

function seeked(video) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 1500); // a video that hangs must not block the picture
    video.addEventListener("seeked", () => { clearTimeout(timer); resolve(); }, {once: true});
  });
}
