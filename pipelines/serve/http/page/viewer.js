// Follows one video: its events move the timeline, its fragments go to the player and the film strip.

import {$, setText} from "./dom.js";
import {canFeed} from "./feed.js";
import {Film} from "./film.js";
import {Refusal, followEvents, followFragments, send} from "./net.js";
import {plan} from "./plan.js";
import {Player} from "./player.js";
import {Screen} from "./screen.js";
import {getWithRetry, retries, signIn} from "./session.js";
import {isCancelled, isRunning, placeOf} from "./shelf.js";
import {Timeline} from "./timeline.js";

const FOLDERS = {low: "preview", fine: "stream"};
const GONE = "There is no video at this address. It may have been deleted.";

export class Viewer {
  #current = null; // {video, counts of fragments, seen, stop, reading}; the last two are AbortControllers
  #pending = null; // {id, stop} of a chosen video until it is loaded; the last choice counts

  /** `actions` as in Screen. `onChange(hasEnded)` is called when the video or its status changes. */
  constructor(actions, onChange) {
    this.onChange = onChange;
    this.screen = new Screen(actions);
    this.film = new Film($("frames"));
    const on = {tick: (state) => this.#tick(state), picture: (name) => this.#picture(name)};
    this.player = new Player($("low"), $("fine"), on);
    this.timeline = new Timeline((frame) => this.player.seek((frame + 0.5) / this.video.fps));
    this.#controls();
    // A browser opens at most six connections to a host, so hidden tabs close theirs.
    document.addEventListener("visibilitychange", () => {
      if (!this.#current || !canFeed) return;
      if (document.hidden) this.#current.reading?.abort();
      else if (this.#current.reading?.signal.aborted) this.#read(this.#current);
    });
  }

  /** The video on the screen, or null. */
  get video() {
    return this.#current?.video ?? null;
  }

  /** The id of the video that was chosen last, loaded or not; undefined if there is none. */
  get id() {
    return (this.#pending ?? this.video)?.id;
  }

  leave(text) {
    const {id} = this;
    this.#stop();
    this.#current = null;
    this.player.detach();
    this.film.detach();
    this.screen.empty(text);
    if (location.hash === `#${id}`) history.replaceState(null, "", location.pathname);
    if (id) this.onChange();
  }

  /** Loads the video of this id and shows it, as soon as the endpoint responds. */
  async attach(id) {
    const stop = new AbortController();
    this.#choose({id, stop});
    this.screen.release();
    if (!this.#current) this.screen.note("Loading the video");
    let video;
    try {
      video = await getWithRetry(`/v1/videos/${id}`, stop.signal);
    } catch (error) {
      return this.leave(error.isMissing ? GONE : error.message);
    }
    if (video) await this.watch(video);
  }

  /** Leaves a finished video that was deleted elsewhere; one in progress has events. */
  async check() {
    const {video} = this;
    if (!video || isRunning(video) || this.#pending) return;
    const error = await send("GET", `/v1/videos/${video.id}`).then(() => null, (one) => one);
    if (error?.isMissing && this.id === video.id) this.leave("The video was deleted.");
  }

  /** Shows a video and follows it to its end. */
  async watch(video) {
    this.#stop();
    const stop = new AbortController();
    const session = this.#current = {video, counts: {low: 0, fine: 0}, seen: new Set(), stop, reading: null};
    setText($("warnings"), "", true);
    this.timeline.attach(video);
    this.player.attach(video);
    this.update(video);
    this.film.attach(video); // after `update`, because it measures its width
    if (video.status === "completed") this.timeline.complete();
    this.onChange();
    this.#read(session);
    const onEvent = (kind, data) => { if (this.#current === session) this.#onEvent(kind, data); };
    try {
      await followEvents(`/v1/videos/${video.id}/events`, {onEvent, signal: session.stop.signal, retries});
      const last = await getWithRetry(`/v1/videos/${video.id}`, stop.signal);
      if (!last) return;
      delete last.warnings; // only the first response has them
      this.update(last);
      this.onChange();
    } catch (error) {
      const isLeft = () => this.#current !== session || this.#pending;
      if (!(error instanceof Refusal)) throw error;
      if (isLeft()) return;
      if (error.isMissing) return this.leave("The video was deleted.");
      if (!error.needsKey) return setText($("reason"), error.message, true);
      await signIn();
      if (!isLeft()) await this.attach(video.id);
    }
  }

  /** Merges changed fields into the video. */
  update(more) {
    const {video} = this.#current;
    const isMoved = more.status !== undefined && more.status !== video.status;
    this.#current.video = {...video, ...(isMoved && {queue_position: null}), ...more};
    if (!this.#pending) this.screen.show(this.#current.video); // otherwise its buttons would return
    this.screen.status(this.#statusText());
    if (isMoved) this.onChange(isRunning(video) && !isRunning(this.video));
  }

  /** Sets the video that is loading, or null, and aborts the one before. */
  #choose(next) {
    this.#pending?.stop.abort();
    this.#pending = next;
  }

  #stop() {
    this.#choose(null);
    this.#current?.stop.abort();
    this.#current?.reading?.abort();
  }

  /** Fetches both videos, each from its first missing fragment. */
  #read(session) {
    if (!canFeed) {
      if (isRunning(session.video)) return; // events say when there are frames
      for (const name of ["low", "fine"]) this.player.setAddress(name, session.video.status === "completed");
      return;
    }
    session.reading = new AbortController();
    const cut = plan(session.video);
    const chunks = cut.chunks.filter(([start]) => start < session.video.num_frames);
    const all = {low: chunks.length, fine: cut.segments.length};
    for (const name of ["low", "fine"]) this.#readOne(session, name, all[name], session.reading.signal);
  }

  async #readOne(session, name, all, signal) {
    const path = `/v1/videos/${session.video.id}`;
    const onFragment = (bytes, index) => {
      if (signal.aborted) return;
      session.counts[name] = index + 1;
      this.player.append(name, bytes);
      this.film.append(name, bytes);
      if (name === "low") this.timeline.chunk(index);
      else this.timeline.segment(index);
      if (index + 1 === all) this.player.end(name); // the response of the preview ends later, with the video
    };
    try {
      await followFragments(`${path}/${FOLDERS[name]}`, {
        first: session.counts[name],
        onFragment,
        finished: async (count) => count >= all || !isRunning(await send("GET", path)),
        signal, retries,
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error; // else no (more) frames, no video or no key: the events say it
    }
    if (!signal.aborted) this.player.end(name);
  }

  #onEvent(kind, data) {
    if (kind === "status") this.update({status: data.status});
    if (kind === "queue") this.update({queue_position: data.position});
    if (kind === "chunk") this.timeline.chunk(data.index);
    if (kind === "window") this.timeline.window(data.index, data.step, data.steps);
    if (kind === "fragment") this.timeline.segment(data.index);
    if (kind === "preview" && !canFeed) this.player.setAddress("low", false);
    if (kind === "fragment" && !canFeed) this.player.setAddress("fine", false);
    if (kind === "progress") {
      this.screen.progress(data.progress);
      this.timeline.progress(data);
    }
    if (kind === "prompt") {
      this.update({prompts: [...this.video.prompts.filter((one) => one.from_frame < data.from_frame), data]});
      this.timeline.marks(this.video.prompts);
    }
    if (kind === "completed") {
      this.update({status: "completed"});
      this.timeline.complete();
      if (!canFeed) this.player.setAddress("fine", true);
    }
    if (kind === "failed") this.update({status: "failed", error: data});
  }

  #statusText() {
    const {video, seen} = this.#current;
    if (isCancelled(video)) return seen.size ? "Cancelled. You can play the finished part." : "Cancelled.";
    if (video.status === "failed") return "This video failed.";
    if (video.status === "completed") return "Finished.";
    if (video.status === "queued") return `${placeOf(video)}.`;
    if (seen.has("fine")) return "Refined frames are arriving.";
    return seen.has("low") ? "The preview is playing. The refined picture follows." : "Generating the first frames.";
  }

  #picture(name) {
    this.#current.seen.add(name);
    this.screen.sawPicture(name);
    this.screen.status(this.#statusText());
  }

  #tick({seconds, shown, blends, width, height, waits, isAgain}) {
    const {fps, num_frames: all} = this.video, name = shown === "low" ? "Preview" : "Refined";
    this.timeline.head(seconds);
    this.screen.caption(seconds);
    $("stage").classList.toggle("blends", blends);
    if ($("stage").dataset.shown !== shown) $("stage").dataset.shown = shown;
    setText($("badge"), shown && `${name} ${width} × ${height}`, true);
    const frame = Math.min(all, Math.floor(seconds * fps + 0.001) + 1);
    const isWaiting = shown && waits && isRunning(this.video);
    const now = isWaiting ? `Waiting for frame ${Math.min(all, frame + 1)}` : isAgain ? "Replay, now refined" : "";
    setText($("waiting"), now, true);
    setText($("clock-seconds"), `${seconds.toFixed(1)} s`);
    setText($("clock-frame"), `frame ${frame}`);
    this.#labelPlay();
  }

  #labelPlay() {
    const label = this.player.isPlaying ? "Pause" : "Play";
    if ($("play").getAttribute("aria-label") !== label) $("play").setAttribute("aria-label", label);
  }

  #controls() {
    const {player} = this;
    $("play").addEventListener("click", () => {
      if (player.isPlaying) player.pause();
      else player.play();
      this.#labelPlay(); // at once, for screen readers
    });
    $("stage").addEventListener("click", () => $("play").click());
    $("loop").addEventListener("change", () => { player.loops = $("loop").checked; });
    for (const one of document.getElementsByName("show")) {
      one.addEventListener("change", () => { player.mode = one.value; });
    }
    if (document.fullscreenEnabled) $("full").addEventListener("click", () => $("stage").requestFullscreen());
    else $("full").hidden = true;
  }
}
