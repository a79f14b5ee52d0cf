// The page: what is asked with the form is watched on the screen, and stands on the shelf afterwards. The address names
// the video that is watched, so a page that is loaded again goes on with it.

import {askDelete, askExtend} from "./dialogs.js";
import {$, say} from "./dom.js";
import {Form} from "./form.js";
import {Offline, Refusal} from "./net.js";
import {act, insist, request} from "./session.js";
import {Shelf} from "./shelf.js";
import {Viewer} from "./viewer.js";

const ID = /^#(video_[0-9a-f]{32})$/;
const EMPTY = $("leader-text").textContent;
const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;

function begin(video) {
  viewer.screen.asked(video);
  history.pushState(null, "", `#${video.id}`);
  viewer.watch(video);
  $("screen").scrollIntoView({block: "nearest", behavior: isStill ? "auto" : "smooth"});
}

const actions = {
  cancel: (video) => orSay(() => viewer.id === video.id ? $("reason") : $("shelf-error"), async () => {
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
  remove: (video) => orSay(() => $("shelf-error"), async () => {
    if (!(await askDelete(video))) return;
    await act("DELETE", `/v1/videos/${video.id}`);
    if (viewer.id === video.id) viewer.leave("The video is deleted.");
    await shelf.refresh();
    $("shelf-title").focus();
  }),
};

/** An error of the API goes where it can be read: to `place()`, as it is then. */
async function orSay(place, work) {
  try {
    say($("shelf-error"), "");
    await work();
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof Offline)) throw error;
    say(place(), error.message);
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
  if (hasEnded) form.tryAgain();
  showShelf().catch(() => {}); // it comes again with the next change
});
const form = new Form(async (path, body) => begin(await act("POST", path, body)));

addEventListener("hashchange", route);
addEventListener("popstate", route);

async function start() {
  route();
  const {data: [model]} = await insist("/v1/models");
  form.setModel(model);
  say($("served"), `Model: ${model.id}`);
  await showShelf();
}

start().catch((error) => say($("shelf-error"), error.message));
