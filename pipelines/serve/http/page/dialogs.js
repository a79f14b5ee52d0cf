// The dialogs for deleting and extending a video.

import {$, setText} from "./dom.js";

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

/** Calls `onExtend(prompt, frames)` on submit. If it throws, the dialog stays open and shows the error. */
export function askExtend(video, onExtend) {
  const dialog = $("ask-extend"), form = dialog.querySelector("form");
  $("extend-prompt").value = video.prompts.at(-1).prompt;
  setText($("extend-error"), "");
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await onExtend($("extend-prompt").value, $("extend-frames").valueAsNumber || 0);
      dialog.close();
    } catch (error) {
      const wait = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
      setText($("extend-error"), error.message + wait);
    }
  };
  $("extend-no").onclick = () => dialog.close();
  dialog.showModal();
}
