// The page: the form requests a video, the screen plays it, the shelf lists earlier ones. The URL names the video on
// the screen, so a reload continues with it.

import {askDelete, askExtend} from "./dialogs.js";
import {$, setText} from "./dom.js";
import {Form} from "./form.js";
import {Offline, Refusal, send} from "./net.js";
import {act, getWithRetry, retries} from "./session.js";
import {Shelf} from "./shelf.js";
import {Viewer} from "./viewer.js";

const ID = /^#(video_[0-9a-f]{32})$/;
const EMPTY = $("leader-text").textContent;
const NOT_HERE = "There is no video at this address.";
const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;

function begin(video) {
  viewer.screen.markRequested(video);
  history.pushState(null, "", `#${video.id}`);
  viewer.watch(video);
  const scroll = {block: "nearest", behavior: isStill ? "auto" : "smooth"};
  requestAnimationFrame(() => $("stage").scrollIntoView(scroll)); // when the screen has its size
}

/** Takes a video that was deleted, here or elsewhere, off the screen, the form and the shelf. */
async function forget(id) {
  form.forget(id);
  if (viewer.id === id) viewer.leave("The video was deleted.");
  await shelf.refresh();
}

const actions = {
  cancel: (video) => orShowError(() => viewer.id === video.id ? $("reason") : $("shelf-error"), video, async () => {
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
  remove: (video) => orShowError(() => $("shelf-error"), video, async () => {
    if (!(await askDelete(video))) return;
    await act("DELETE", `/v1/videos/${video.id}`);
    await forget(video.id);
    $("shelf-title").focus();
  }),
};

/** Runs `work` on a video and shows an error of the API in the element `place()`. */
async function orShowError(place, video, work) {
  try {
    setText($("shelf-error"), "");
    await work();
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof Offline)) throw error;
    if (error.isMissing) return forget(video.id); // deleted elsewhere
    if (error.code === "video_finished") return; // its events say so too
    setText(place(), error.message, place() === $("reason"));
  }
}

function route() {
  const id = ID.exec(location.hash)?.[1];
  if (id && id !== viewer.id) viewer.attach(id);
  if (!id) viewer.leave(location.hash.length > 1 ? NOT_HERE : EMPTY);
}

async function loadModel() {
  const {data: [model]} = await getWithRetry("/v1/models");
  form.setModel(model);
  setText($("served"), `Model: ${model.id}`);
}

async function showShelf() {
  await shelf.refresh();
  shelf.mark(viewer.video?.id);
}

const shelf = new Shelf(actions);
const viewer = new Viewer(actions, (hasEnded) => {
  if (hasEnded) form.retryNow();
  showShelf();
});
const form = new Form(
  async (path, body) => begin(await act("POST", path, body)),
  (body) => send("POST", "/v1/videos/check", body),
);

addEventListener("hashchange", route);
addEventListener("popstate", route);
// While the page was hidden or the endpoint away, videos may have been deleted and the model may have changed.
function lookAgain() {
  if (document.hidden) return;
  showShelf();
  viewer.check();
}
document.addEventListener("visibilitychange", lookAgain);
addEventListener("focus", lookAgain);
retries.onReturn = () => {
  setText($("shelf-error"), "");
  form.retryNow();
  loadModel();
  showShelf();
};

route();
loadModel();
showShelf();
