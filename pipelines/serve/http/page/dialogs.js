// The two questions that are asked before something is done.

import {$, say} from "./dom.js";

/** True when the answer is yes. */
export function askDelete(video) {
  const dialog = $("ask-delete");
  say($("ask-delete-text"), `“${video.prompt}” and its files cannot be brought back.`);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), {once: true});
  });
}

/** `onExtend(prompt, frames)` is asked when the form is sent; what it throws is shown there, and the dialog stays. */
export function askExtend(video, onExtend) {
  const dialog = $("ask-extend"), form = dialog.querySelector("form");
  $("extend-prompt").value = video.prompts.at(-1).prompt;
  say($("extend-error"), "");
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await onExtend($("extend-prompt").value, $("extend-frames").valueAsNumber || 0);
      dialog.close();
    } catch (error) {
      const wait = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
      say($("extend-error"), error.message + wait);
    }
  };
  $("extend-no").onclick = () => dialog.close();
  dialog.showModal();
}
