// The page: the form requests a video, the screen plays it, the shelf lists earlier ones. The URL names the video on
// the screen, so a reload continues with it.

import {askDelete, askExtend} from "./dialogs.js";
import {$, setText} from "./dom.js";
import {Form} from "./form.js";
import {Offline, Refusal} from "./net.js";
import {act, getWithRetry, request} from "./session.js";
import {Shelf} from "./shelf.js";
import {Viewer} from "./viewer.js";

const ID = /^#(video_[0-9a-f]{32})$/;
const EMPTY = $("leader-text").textContent;
const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;

function begin(video) {
  viewer.screen.markRequested(video);
  history.pushState(null, "", `#${video.id}`);
  viewer.watch(video);
  $("screen").scrollIntoView({block: "nearest", behavior: isStill ? "auto" : "smooth"});
}

const actions = {
  cancel: (video) => orShowError(() => viewer.id === video.id ? $("reason") : $("shelf-error"), async () => {
    const cancelled = await act("POST", `/v1/videos/${video.id}/cancel`);
    if (viewer.video?.id === video.id) viewer.update(cancelled);
  }),
  remix: (video) => {
    form.fill(video);
    $("desk-title").scrollIntoView({block: "nearest"});
  },
  extend: (video) => askExtend(video, async (prompt, numFrames) => {
    begin(await act("POST", "/v1/videos/extensions", {prompt, video: {id: video.id}, num_frames: numFrames}));
  }),
  remove: (video) => orShowError(() => $("shelf-error"), async () => {
    if (!(await askDelete(video))) return;
    await act("DELETE", `/v1/videos/${video.id}`);
    if (viewer.id === video.id) viewer.leave("The video was deleted.");
    await shelf.refresh();
    $("shelf-title").focus();
  }),
};

/** Runs `work` and shows an error of the API in the element `place()`. */
async function orShowError(place, work) {
  try {
    setText($("shelf-error"), "");
    await work();
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof Offline)) throw error;
    setText(place(), error.message);
    place().hidden = false;
  }
}

function route() {
  const id = ID.exec(location.hash)?.[1];
  if (id && id !== viewer.id) viewer.attach(id);
  if (!id && viewer.id) viewer.leave(EMPTY);
}

async function showShelf() {
  await shelf.refresh();
  shelf.mark(viewer.video?.id);
}

const shelf = new Shelf(request, actions);
const viewer = new Viewer(actions, (hasEnded) => {
  if (hasEnded) form.retryNow();
  showShelf().catch(() => {}); // the next change refreshes it again
});
const form = new Form(async (path, body) => begin(await act("POST", path, body)));

addEventListener("hashchange", route);
addEventListener("popstate", route);

async function start() {
  route();
  const {data: [model]} = await getWithRetry("/v1/models");
  form.setModel(model);
  setText($("served"), `Model: ${model.id}`);
  await showShelf();
}

start().catch((error) => setText($("shelf-error"), error.message));
