// Follows one video: its events move the timeline, its fragments go to the player and to the strip of pictures.

import {$, say} from "./dom.js";
import {canFeed} from "./feed.js";
import {Film} from "./film.js";
import {ask, followEvents, followFragments} from "./net.js";
import {plan} from "./plan.js";
import {Player} from "./player.js";
import {Screen} from "./screen.js";
import {insist, patience, signIn} from "./session.js";
import {isCancelled, isRunning} from "./shelf.js";
import {Timeline} from "./timeline.js";

const FOLDERS = {low: "preview", fine: "stream"};

export class Viewer {
  #now = null; // {video, counts of fragments, seen, stop: of all, reading: of the fragments}
  #coming = null; // {id, stop} of the one that was chosen, until the endpoint answers: the last choice counts

  /** `actions` as of Screen; `onChange(hasEnded)` is called when a video has another state, or another is watched. */
  constructor(actions, onChange) {
    this.onChange = onChange;
    this.screen = new Screen(actions);
    this.film = new Film($("frames"));
    const on = {tick: (state) => this.#tick(state), picture: (name) => this.#picture(name)};
    this.player = new Player($("low"), $("fine"), on);
    this.timeline = new Timeline((frame) => this.player.seek((frame + 0.5) / this.video.fps));
    this.#controls();
    // A browser opens six connections to a place at most: tabs that nobody sees leave theirs to the others.
    document.addEventListener("visibilitychange", () => {
      if (!this.#now || !canFeed) return;
      if (document.hidden) this.#now.reading?.abort();
      else if (this.#now.reading?.signal.aborted) this.#read(this.#now);
    });
  }

  /** What is watched, or null. */
  get video() {
    return this.#now?.video ?? null;
  }

  /** Of what was chosen last, also before it can be watched; undefined when that is nothing. */
  get id() {
    return (this.#coming ?? this.video)?.id;
  }

  leave(text) {
    this.#stop();
    this.#now = null;
    this.player.detach();
    this.film.detach();
    this.screen.empty(text);
    history.replaceState(null, "", location.pathname);
    this.onChange();
  }

  /** The video of this id, as soon as the endpoint answers. */
  async attach(id) {
    const stop = new AbortController();
    this.#choose({id, stop});
    this.screen.release();
    let video;
    try {
      video = await insist(`/v1/videos/${id}`, stop.signal);
    } catch (error) {
      return this.leave(error.message);
    }
    if (video) await this.watch(video);
  }

  /** Puts a video on the screen and follows it to its end. */
  async watch(video) {
    this.#stop();
    const stop = new AbortController();
    const mine = this.#now = {video, counts: {low: 0, fine: 0}, seen: new Set(), stop, reading: null};
    say($("warnings"), "", true);
    this.timeline.attach(video);
    this.player.attach(video);
    this.update(video);
    this.film.attach(video); // after `update`: it measures the place that it has
    if (video.status === "completed") this.timeline.complete();
    this.onChange();
    this.#read(mine);
    const onEvent = (kind, data) => { if (this.#now === mine) this.#hear(kind, data); };
    try {
      await followEvents(`/v1/videos/${video.id}/events`, {onEvent, signal: mine.stop.signal, patience});
      const last = await insist(`/v1/videos/${video.id}`, stop.signal);
      if (!last) return;
      delete last.warnings; // only the first answer has them
      this.update(last);
      this.onChange();
    } catch (error) {
      const isLeft = () => this.#now !== mine || this.#coming;
      if (isLeft()) return;
      if (error.status !== 401) return this.leave(error.message);
      await signIn();
      if (!isLeft()) await this.attach(video.id);
    }
  }

  /** What has become of the video. */
  update(more) {
    const {video} = this.#now;
    this.#now.video = {...video, ...more};
    if (!this.#coming) this.screen.show(this.#now.video); // else it would have its buttons back
    this.screen.status(this.#words());
    if (more.status !== video.status) this.onChange(isRunning(video) && !isRunning(this.video));
  }

  /** What is on its way instead of what was; null: nothing. */
  #choose(coming) {
    this.#coming?.stop.abort();
    this.#coming = coming;
  }

  #stop() {
    this.#choose(null);
    this.#now?.stop.abort();
    this.#now?.reading?.abort();
  }

  /** Fetches both videos, each from the first fragment that is not here yet. */
  #read(mine) {
    if (!canFeed) {
      if (isRunning(mine.video)) return; // its events say when there is something
      for (const name of ["low", "fine"]) this.player.point(name, mine.video.status === "completed");
      return;
    }
    mine.reading = new AbortController();
    const cut = plan(mine.video);
    const all = {low: cut.chunks.filter(([start]) => start < mine.video.num_frames).length, fine: cut.segments.length};
    for (const name of ["low", "fine"]) this.#readOne(mine, name, all[name], mine.reading.signal);
  }

  async #readOne(mine, name, all, signal) {
    const path = `/v1/videos/${mine.video.id}`;
    const onFragment = (bytes, index) => {
      if (signal.aborted) return;
      mine.counts[name] = index + 1;
      this.player.append(name, bytes);
      this.film.append(name, bytes);
      if (name === "low") this.timeline.chunk(index);
      else this.timeline.segment(index);
    };
    try {
      await followFragments(`${path}/${FOLDERS[name]}`, {
        first: mine.counts[name],
        onFragment,
        finished: async (count) => count >= all || !isRunning(await ask("GET", path)),
        signal, patience,
      });
    } catch (error) {
      // Nothing was made of it, or nothing comes after what is here; a key that is missing, the events tell too.
      if (![404, 409, 401].includes(error.status)) throw error;
    }
    if (!signal.aborted) this.player.end(name);
  }

  #hear(kind, data) {
    if (kind === "status") this.update({status: data.status});
    if (kind === "chunk") this.timeline.chunk(data.index);
    if (kind === "window") this.timeline.window(data.index, data.step, data.steps);
    if (kind === "fragment") this.timeline.segment(data.index);
    if (kind === "preview" && !canFeed) this.player.point("low", false);
    if (kind === "fragment" && !canFeed) this.player.point("fine", false);
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
      if (!canFeed) this.player.point("fine", true);
    }
    if (kind === "failed") this.update({status: "failed", error: data});
  }

  #words() {
    const {video, seen} = this.#now;
    if (isCancelled(video)) return seen.size ? "Cancelled. What was made can still be played." : "Cancelled.";
    if (video.status === "failed") return "This video failed.";
    if (video.status === "completed") return "Finished.";
    if (video.status === "queued") return "Waiting in the queue.";
    if (seen.has("fine")) return "The refined picture is coming in.";
    return seen.has("low") ? "The preview is playing. The refined picture follows." : "Making the first frames.";
  }

  #picture(name) {
    this.#now.seen.add(name);
    this.screen.sawPicture(name);
    this.screen.status(this.#words());
  }

  #tick({seconds, shown, blends, width, height, waits}) {
    const {fps, num_frames: all} = this.video, name = shown === "low" ? "Preview" : "Refined";
    this.timeline.head(seconds);
    this.screen.caption(seconds);
    $("stage").classList.toggle("blends", blends);
    if ($("stage").dataset.shown !== shown) $("stage").dataset.shown = shown;
    say($("badge"), shown && `${name} ${width} × ${height}`, true);
    const frame = Math.min(all, Math.floor(seconds * fps + 0.001) + 1);
    const isWaiting = shown && waits && isRunning(this.video);
    say($("waiting"), isWaiting ? `Waiting for frame ${Math.min(all, frame + 1)}` : "", true);
    say($("clock-seconds"), `${seconds.toFixed(1)} s`);
    say($("clock-frame"), `frame ${frame}`);
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
      this.#labelPlay(); // at once: a screen reader says what the button has become
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
