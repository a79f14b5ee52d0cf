// Earlier videos, newest first.

import {$, element, setText} from "./dom.js";
import {getWithRetry} from "./session.js";

const PAGE = 12;
const STATES = {in_progress: "In progress", completed: "", failed: "Failed"};
export const isRunning = (video) => video.status === "queued" || video.status === "in_progress";
export const isCancelled = (video) => video.error?.code === "cancelled";

export class Shelf {
  #cards = new Map(); // id -> {item, video}
  #limit = PAGE;
  #loading = new AbortController();

  /** `actions`: {remix, extend, remove}, each of a video. */
  constructor(actions) {
    this.actions = actions;
    $("shelf-more").addEventListener("click", () => {
      this.#limit = Math.min(100, this.#limit + PAGE);
      this.refresh();
    });
    setInterval(() => {
      const isWaiting = [...this.#cards.values()].some(({video}) => isRunning(video));
      if (isWaiting && !document.hidden) this.refresh();
    }, 10_000);
  }

  /** Loads the list, as soon as the endpoint responds. A later call replaces the one that waits. */
  async refresh() {
    this.#loading.abort();
    this.#loading = new AbortController();
    let list;
    try {
      list = await getWithRetry(`/v1/videos?limit=${this.#limit}`, this.#loading.signal);
    } catch (error) {
      setText($("shelf-error"), error.message);
      return;
    }
    if (!list) return;
    const known = new Set(list.data.map((video) => video.id));
    for (const [id, {item}] of this.#cards) {
      if (known.has(id)) continue;
      item.remove();
      this.#cards.delete(id);
    }
    list.data.forEach((video, place) => this.#put(video, place));
    $("shelf-empty").hidden = list.data.length > 0;
    $("shelf-more").hidden = !list.has_more || this.#limit >= 100;
  }

  /** Marks the video on the screen. */
  mark(id) {
    for (const [one, {item}] of this.#cards) {
      if (one === id) item.setAttribute("aria-current", "true");
      else item.removeAttribute("aria-current");
    }
  }

  #put(video, place) {
    const before = this.#cards.get(video.id);
    if (before && before.video.status === video.status) {
      before.video = video;
      const state = before.item.querySelector(".state");
      if (state) setText(state, stateOf(video));
      return;
    }
    const item = this.#card(video);
    if (before) before.item.replaceWith(item);
    else $("shelf").insertBefore(item, $("shelf").children[place] ?? null);
    if (before?.item.hasAttribute("aria-current")) item.setAttribute("aria-current", "true");
    this.#cards.set(video.id, {item, video});
  }

  #card(video) {
    const text = video.prompt, isDone = video.status === "completed";
    const button = (label, onclick) => element("button", {
      type: "button", className: "plain", textContent: label, "aria-label": `${label}: ${text.slice(0, 80)}`, onclick,
    });
    const actions = [button("Remix", () => this.actions.remix(video))];
    if (isDone) actions.push(button("Extend", () => this.actions.extend(video)), download(video));
    actions.push(button("Delete", () => this.actions.remove(video)));
    return element("li", {"data-id": video.id},
      element("a", {href: `#${video.id}`, className: "card"},
        picture(video), element("span", {className: "words", textContent: text})),
      element("p", {className: "hint", textContent: facts(video)}),
      element("div", {className: "actions"}, ...actions));
  }
}

/** A link to the finished file. */
export function download(video) {
  const link = {href: `/v1/videos/${video.id}/content`, download: `${video.id}.mp4`, className: "plain"};
  return element("a", {...link, textContent: "Download", "aria-label": `Download: ${video.prompt.slice(0, 80)}`});
}

/** The place of a video that waits, as a sentence without its full stop; 1 is the next one. */
export function placeOf({queue_position: place}) {
  if (!place) return "Waiting in the queue";
  return place === 1 ? "Next in the queue" : `Number ${place} in the queue`;
}

function stateOf(video) {
  if (isCancelled(video)) return "Cancelled";
  return video.status === "queued" ? placeOf(video) : STATES[video.status];
}

function picture(video) {
  const frame = element("span", {className: "thumb"});
  frame.style.aspectRatio = `${video.width} / ${video.height}`;
  if (video.status === "completed") {
    const image = element("img", {src: `/v1/videos/${video.id}/content?variant=thumbnail`, alt: "", loading: "lazy"});
    image.addEventListener("error", () => image.remove());
    frame.append(image);
  } else {
    frame.append(element("span", {className: "state", textContent: stateOf(video)}));
  }
  return frame;
}

function facts(video) {
  const kind = video.extends_video_id ? "extension · " : video.remixed_from_video_id ? "remix · " : "";
  const when = new Date(video.created_at * 1000).toLocaleString(undefined, {dateStyle: "medium", timeStyle: "short"});
  return `${kind}${video.num_frames} frames · ${video.size.replace("x", " × ")} · ${when}`;
}
