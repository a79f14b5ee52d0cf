// The dialogs for deleting and extending a video.

import {$, setText} from "./dom.js";
import {mark, numberFault, unmark, withoutName} from "./fields.js";

/** Resolves to true if the user confirms. */
export function askDelete(video) {
  const dialog = $("ask-delete");
  setText($("ask-delete-text"), `“${video.prompt}” and its files will be deleted permanently.`);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), {once: true});
  });
}

const EXTEND = {prompt: "extend-prompt", num_frames: "extend-frames", seconds: "extend-frames"};

/** Calls `onExtend(prompt, frames)` on submit. If it throws, the dialog stays open and shows the error. */
export function askExtend(video, onExtend) {
  const dialog = $("ask-extend"), form = dialog.querySelector("form");
  const text = $("extend-prompt"), frames = $("extend-frames");
  text.value = video.prompts.at(-1).prompt;
  const clear = () => { setText($("extend-error"), ""); unmark(text); unmark(frames); };
  clear();
  form.oninput = (event) => unmark(event.target);
  form.onsubmit = async (event) => {
    event.preventDefault();
    clear();
    if (!text.value.trim()) return refuse(text, "Describe what happens next.");
    const fault = frames.value || frames.validity.badInput ? numberFault(frames) : "Enter a number.";
    if (fault) return refuse(frames, fault);
    const button = dialog.querySelector(".main");
    button.disabled = true; // a second click would make a second video
    try {
      await onExtend(text.value, frames.valueAsNumber);
      dialog.close();
    } catch (error) {
      const wait = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
      const input = $(EXTEND[error.param]), message = withoutName(error.message, error.param) + wait;
      if (error.isMissing) setText($("extend-error"), "This video was deleted, so it cannot be extended.");
      else if (input) refuse(input, message);
      else setText($("extend-error"), message);
    } finally {
      button.disabled = false;
    }
  };
  $("extend-no").onclick = () => dialog.close();
  dialog.showModal();
}

function refuse(input, text) {
  mark(input, text);
  input.focus();
}
