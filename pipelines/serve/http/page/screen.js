// The video on the screen: its facts, its progress and its buttons.

import {$, duration, element, setText, shortened} from "./dom.js";
import {recall, remember} from "./memory.js";
import {promptAt} from "./plan.js";
import {download, isCancelled, isRunning, placeOf} from "./shelf.js";

/** Times seen in this tab, per video: of the request in ms, and of the first pictures in seconds after it. */
const times = {
  of: (id) => Object.fromEntries(Object.entries(recall(`longtake ${id}`)).filter(([, at]) => Number.isFinite(at))),
  put: (id, more) => remember(`longtake ${id}`, {...times.of(id), ...more}),
};

export class Screen {
  #video = null; #percent = null; #shownFacts = ""; #shownActions = "";

  /** `actions`: {cancel, remix, extend, remove}, each of a video. */
  constructor(actions) {
    this.actions = actions;
    setInterval(() => { if (this.#video && isRunning(this.#video)) this.#facts(); }, 500);
  }

  /** Notes that `video` was requested now, in this tab. */
  markRequested(video) {
    times.put(video.id, {requested: Date.now()});
  }

  /** Notes the first picture of a kind (low, fine) on the screen. */
  sawPicture(name) {
    const {id} = this.#video, before = times.of(id);
    if (!isRunning(this.#video) || !before.requested || before[name] !== undefined) return;
    times.put(id, {[name]: (Date.now() - before.requested) / 1000});
    this.#facts();
  }

  show(video) {
    if (video.id !== this.#video?.id) {
      this.#percent = null;
      $("stage").dataset.shown = "";
    }
    this.#video = video;
    const state = isCancelled(video) ? "cancelled" : video.status;
    $("screen").dataset.state = state;
    $("screen").style.setProperty("--aspect", video.width / video.height);
    $("screen").style.setProperty("--fit", video.fit === "stretch" ? "fill" : video.fit); // of a preview in another shape
    $("controls").hidden = false;
    const leader = {queued: placeOf(video), in_progress: "Generating the first frames", completed: ""};
    setText($("leader-text"), leader[state] ?? "No frames were generated.");
    const hasFailed = video.error && state !== "cancelled";
    setText($("reason"), hasFailed ? `${video.error.message} (${video.error.code})` : "", true);
    if (video.warnings?.length) setText($("warnings"), shortened(video.warnings), true);
    this.caption(0);
    this.#facts();
    this.#actions(state);
  }

  status(text) {
    setText($("status"), text);
  }

  progress(percent) {
    this.#percent = percent;
    this.#facts();
  }

  /** Shows the prompt at `seconds`. */
  caption(seconds) {
    const {prompts, fps} = this.#video;
    setText($("caption"), promptAt(prompts, Math.floor(seconds * fps + 0.001)).prompt);
  }

  empty(text) {
    this.#video = null;
    $("screen").dataset.state = "empty";
    $("stage").dataset.shown = "";
    for (const id of ["controls", "timeline"]) $(id).hidden = true;
    for (const id of ["reason", "warnings", "badge", "waiting"]) setText($(id), "", true);
    for (const id of ["caption", "status"]) setText($(id), "");
    for (const id of ["facts", "actions"]) $(id).replaceChildren();
    this.#shownFacts = this.#shownActions = "";
    this.note(text);
    document.title = "Longtake";
  }

  /** Shows a text where the picture will be. */
  note(text) {
    setText($("leader-text"), text);
  }

  #facts() {
    const video = this.#video, seen = times.of(video.id);
    const facts = [];
    if (isRunning(video)) {
      const requested = seen.requested ?? video.created_at * 1000, waits = video.status === "queued";
      const progress = `${this.#percent ?? video.progress} %`;
      if (!waits) facts.push(["Progress", progress]);
      const since = duration(Math.max(0, Math.floor((Date.now() - requested) / 1000)));
      facts.push([waits ? "Waiting for" : "Requested", waits ? since : `${since} ago`]);
      document.title = `${waits ? placeOf(video) : progress} · Longtake`;
    } else {
      document.title = "Longtake";
      if (video.completed_at) facts.push(["Generated in", duration(video.completed_at - video.created_at)]);
    }
    if (seen.low !== undefined) facts.push(["First picture after", duration(seen.low)]);
    if (seen.fine !== undefined) facts.push(["First refined after", duration(seen.fine)]);
    facts.push(["Length", `${video.num_frames} frames, ${(video.num_frames / video.fps).toFixed(1)} s`]);
    facts.push(["Size", `${video.width} × ${video.height}`], ["Seed", `${video.seed}`]);
    facts.push(["Steps, guidance", `${video.num_inference_steps}, ${video.guidance_scale}`]);
    facts.push(["Coupling", video.coupling]);
    const text = JSON.stringify(facts);
    if (text === this.#shownFacts) return;
    this.#shownFacts = text;
    $("facts").replaceChildren(...facts.map(([name, value]) =>
      element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value}))));
  }

  /** Removes the buttons while another video is loading. */
  release() {
    this.#shownActions = "";
    $("actions").replaceChildren();
  }

  /** Replaces the buttons only if they change, so that the focus stays. */
  #actions(state) {
    const video = this.#video, key = `${video.id} ${isRunning(video)} ${state}`;
    if (key === this.#shownActions) return;
    this.#shownActions = key;
    const button = (text, action, className = "plain") =>
      element("button", {type: "button", textContent: text, className, onclick: () => action(this.#video)});
    const {cancel, remix, extend, remove} = this.actions;
    const hadFocus = $("actions").contains(document.activeElement);
    const buttons = isRunning(video) ? [button("Cancel", cancel, "")] : [button("Remix", remix)];
    if (state === "completed") buttons.push(button("Extend", extend), download(video));
    if (!isRunning(video)) buttons.push(button("Delete", remove));
    $("actions").replaceChildren(...buttons);
    if (hadFocus) buttons[0].focus();
  }
}
