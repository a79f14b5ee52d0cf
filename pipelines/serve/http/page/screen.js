// One video on the screen: what it is, how far it is, and what can be done with it.

import {$, duration, element, say} from "./dom.js";
import {promptAt} from "./plan.js";
import {download, isCancelled, isRunning} from "./shelf.js";

/** The moments that a reader of this tab has seen, by video: when it was asked, in ms, and seconds from then on. */
const times = {
  of: (id) => JSON.parse(sessionStorage.getItem(`longtake ${id}`) ?? "{}"),
  put: (id, more) => sessionStorage.setItem(`longtake ${id}`, JSON.stringify({...times.of(id), ...more})),
};

export class Screen {
  #video = null; #percent = null; #shownFacts = ""; #shownActions = "";

  /** `actions`: {cancel, remix, extend, remove}, each of a video. */
  constructor(actions) {
    this.actions = actions;
    setInterval(() => { if (this.#video && isRunning(this.#video)) this.#facts(); }, 500);
  }

  /** `video` was asked for just now, here. */
  asked(video) {
    times.put(video.id, {asked: Date.now()});
  }

  /** A picture of this kind (low, fine) is on the screen for the first time. */
  sawPicture(name) {
    const {id} = this.#video, before = times.of(id);
    if (!isRunning(this.#video) || !before.asked || before[name] !== undefined) return;
    times.put(id, {[name]: (Date.now() - before.asked) / 1000});
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
    $("controls").hidden = false;
    const leader = {queued: "Waiting in the queue", in_progress: "Making the first frames", completed: ""};
    say($("leader-text"), leader[state] ?? "Nothing was made of this video.");
    const isOurs = video.error && state !== "cancelled";
    say($("reason"), isOurs ? `${video.error.message} (${video.error.code})` : "", true);
    if (video.warnings?.length) say($("warnings"), shortened(video.warnings), true);
    this.caption(0);
    this.#facts();
    this.#actions(state);
  }

  status(text) {
    say($("status"), text);
  }

  progress(percent) {
    this.#percent = percent;
    this.#facts();
  }

  /** The prompt at this second. */
  caption(seconds) {
    const {prompts, fps} = this.#video;
    say($("caption"), promptAt(prompts, Math.floor(seconds * fps + 0.001)).prompt);
  }

  empty(text) {
    this.#video = null;
    $("screen").dataset.state = "empty";
    for (const id of ["controls", "timeline"]) $(id).hidden = true;
    for (const id of ["reason", "warnings", "badge", "waiting"]) say($(id), "", true);
    for (const id of ["caption", "status"]) say($(id), "");
    for (const id of ["facts", "actions"]) $(id).replaceChildren();
    this.#shownFacts = this.#shownActions = "";
    say($("leader-text"), text);
    document.title = "Longtake";
  }

  #facts() {
    const video = this.#video, seen = times.of(video.id);
    const facts = [];
    if (isRunning(video)) {
      facts.push(["Progress", `${this.#percent ?? video.progress} %`]);
      const asked = seen.asked ?? video.created_at * 1000;
      facts.push(["Running for", duration(Math.max(0, Math.floor((Date.now() - asked) / 1000)))]);
      document.title = `${this.#percent ?? video.progress} % · Longtake`;
    } else {
      document.title = "Longtake";
      if (video.completed_at) facts.push(["Made in", duration(video.completed_at - video.created_at)]);
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

  /** Another video is on its way: what is on the screen takes no more orders. */
  release() {
    this.#shownActions = "";
    $("actions").replaceChildren();
  }

  /** New buttons only when others are possible: the one that has the focus stays. */
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

/** The first few sentences, and how many more there are. */
function shortened(sentences, most = 3) {
  const more = sentences.length - most;
  return sentences.slice(0, most).join(" ") + (more > 0 ? ` And ${more} more.` : "");
}
