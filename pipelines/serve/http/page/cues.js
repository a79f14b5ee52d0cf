// The later prompts of the form: rows of a first frame and a text.

import {$, element} from "./dom.js";

export class Cues {
  /** Calls `onChange()` when a row is added or removed by the user. */
  constructor(onChange) {
    this.onChange = onChange;
    this.plan = {chunk_frames: 16, condition_frames: 8}; // until the model is known
    $("add-cue").addEventListener("click", () => {
      this.#add({from_frame: this.#nextFrame(), prompt: ""}).focus();
      this.onChange();
    });
  }

  /** [{frame, text}]: the inputs of each row, as they stand. */
  get rows() {
    return [...$("cues").children].map((row) => ({
      frame: row.querySelector("input"), text: row.querySelector("textarea"),
    }));
  }

  /** The rows by their frames, as the API numbers them from 1 on. */
  get sorted() {
    return this.rows.sort((a, b) => a.frame.valueAsNumber - b.frame.valueAsNumber);
  }

  /** Replaces all rows by `cues`, a list of {from_frame, prompt}. */
  put(cues) {
    $("cues").replaceChildren();
    for (const cue of cues) this.#add(cue);
  }

  #add(cue) {
    const id = `cue-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    const frame = element("input", {id, type: "number", min: 1, step: 1, value: cue.from_frame, inputMode: "numeric"});
    const text = element("textarea", {id: `${id}-text`, rows: 2, value: cue.prompt});
    const drop = element("button", {type: "button", className: "plain", textContent: "Remove"});
    const row = element("li", {},
      element("label", {htmlFor: id, textContent: "From frame"}), frame, drop,
      element("label", {className: "text"},
        element("span", {className: "unseen", textContent: "Prompt from there on"}), text));
    drop.addEventListener("click", () => { row.remove(); $("add-cue").focus(); this.onChange(); });
    $("cues").append(row);
    return text;
  }

  /** The first frame of the next chunk after the last of these prompts. */
  #nextFrame() {
    const last = this.rows.at(-1)?.frame.valueAsNumber || 0;
    const {chunk_frames: chunk, condition_frames: old} = this.plan, added = chunk - old;
    return last < chunk ? chunk : chunk + (Math.floor((last - chunk) / added) + 1) * added;
  }
}
