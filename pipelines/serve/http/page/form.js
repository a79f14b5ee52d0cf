// The form: prompt, later prompts, settings. An error of the API is shown beside the field that it names.

import {$, countdown, element, setText} from "./dom.js";
import {examples, hint, surprise} from "./world.js";

const NUMBERS = ["num_frames", "fps", "width", "height", "num_inference_steps", "guidance_scale", "seed"];
const FIELDS = {size: "width", seconds: "num_frames"}; // fields of the API that have another name here

export class Form {
  #defaults = {seconds: "4", fps: 8, width: 0, height: 0, coupling: "causal"};
  #source = null; // of a remix: {id, settings}
  #plan = {chunk_frames: 16, condition_frames: 8}; // until the model is known
  #stopCount = () => {};
  #waitsForSlot = false;

  /** Calls `onMake(path, body)` on submit and shows the error that it throws. */
  constructor(onMake) {
    this.onMake = onMake;
    $("make").addEventListener("submit", (event) => { event.preventDefault(); this.#make(); });
    $("make").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("make").requestSubmit();
    });
    $("make").addEventListener("input", (event) => { this.#unmark(event.target); this.#summary(); });
    $("add-cue").addEventListener("click", () => this.#addCue().text.focus());
    $("origin-drop").addEventListener("click", () => { this.#setSource(null); $("prompt").focus(); });
    this.#summary();
  }

  setModel({id, defaults, limits}) {
    this.#defaults = defaults;
    this.#plan = defaults.plan;
    for (const name of NUMBERS) if (defaults[name] !== undefined) $(name).placeholder = defaults[name];
    $("num_frames").placeholder = Math.round(Number(defaults.seconds) * defaults.fps);
    $("num_frames").max = limits.max_frames;
    $("num_inference_steps").max = limits.max_steps;
    $("width").step = $("height").step = $("width").min = $("height").min = limits.size_multiple;
    $("prompt").maxLength = limits.max_prompt_chars;
    if (!this.#source) $("coupling").value = defaults.coupling;
    const chips = examples(id).map((text) => this.#chip(text, () => text));
    if (id === "tiny") chips.push(this.#chip("Surprise me", surprise));
    $("examples").replaceChildren(...chips);
    setText($("prompt-hint"), hint(id), true);
    this.#summary();
  }

  /** Fills in the request of `video`. While only its prompts are changed, the result is a remix of it. */
  fill(video) {
    $("prompt").value = video.prompts[0].prompt;
    $("cues").replaceChildren();
    for (const cue of video.prompts.slice(1)) this.#addCue(cue);
    for (const name of NUMBERS) $(name).value = video[name];
    $("coupling").value = video.coupling;
    $("negative_prompt").value = video.negative_prompt;
    this.clear();
    this.#setSource({id: video.id, settings: JSON.stringify(this.#settings())});
    this.#summary();
    $("prompt").focus();
    $("prompt").select();
  }

  /** A video has ended: if the form waits for a free slot, it can be sent again now. */
  retryNow() {
    if (this.#waitsForSlot) this.clear();
  }

  clear() {
    this.#stopCount();
    this.#waitsForSlot = false;
    $("go").disabled = false;
    setText($("go"), "Make video");
    setText($("make-error"), "");
    setText($("prompt-error"), "");
    for (const one of $("make").querySelectorAll("[aria-invalid]")) this.#unmark(one);
  }

  /** Shows the error and moves the focus to its field. */
  refuse(error) {
    const place = this.#place(error.param ?? /^[a-z_]+/.exec(error.message)?.[0]);
    setText(place === $("prompt") ? $("prompt-error") : $("make-error"), error.message);
    if (place) {
      place.setAttribute("aria-invalid", "true");
      if (place !== $("prompt")) place.setAttribute("aria-describedby", "make-error");
      if ($("settings").contains(place)) $("settings").open = true;
      place.focus();
    }
    if (error.retryAfterS) this.#wait(error);
  }

  async #make() {
    if ($("go").disabled) return;
    this.clear();
    const wrong = [...NUMBERS.map($), ...$("cues").querySelectorAll("input")].find(
      (one) => one.validity.badInput || (one.id === "seed" && one.validity.rangeOverflow));
    if (wrong) {
      const message = `${wrong.labels[0].textContent}: enter a number with at most 15 digits.`;
      this.refuse({message, param: wrong.id});
      return;
    }
    const settings = this.#settings();
    const request = this.#source?.settings === JSON.stringify(settings)
      ? [`/v1/videos/${this.#source.id}/remix`, {prompt: this.#prompt()}]
      : ["/v1/videos", {prompt: this.#prompt(), ...settings}];
    $("go").disabled = true;
    setText($("go"), "Sending …");
    try {
      await this.onMake(...request);
      this.clear();
      this.#setSource(null);
    } catch (error) {
      this.clear();
      this.refuse(error);
    }
  }

  #prompt() {
    const cues = [...$("cues").children].map((row) => ({
      from_frame: row.querySelector("input").valueAsNumber || 0,
      prompt: row.querySelector("textarea").value,
    }));
    const first = $("prompt").value;
    return cues.length ? [{from_frame: 0, prompt: first}, ...cues.sort((a, b) => a.from_frame - b.from_frame)] : first;
  }

  #settings() {
    const settings = {};
    for (const name of NUMBERS) if ($(name).value !== "") settings[name] = $(name).valueAsNumber;
    if ($("negative_prompt").value) settings.negative_prompt = $("negative_prompt").value;
    if ($("coupling").value !== this.#defaults.coupling) settings.coupling = $("coupling").value;
    return settings;
  }

  #addCue(cue = {from_frame: this.#nextFrame(), prompt: ""}) {
    const frame = element("input", {type: "number", min: 1, step: 1, value: cue.from_frame, inputMode: "numeric"});
    const text = element("textarea", {rows: 2, value: cue.prompt});
    frame.id = `cue-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    const drop = element("button", {type: "button", className: "plain", textContent: "Remove"});
    const row = element("li", {},
      element("label", {htmlFor: frame.id, textContent: "From frame"}), frame, drop,
      element("label", {className: "text"},
        element("span", {className: "unseen", textContent: "Prompt from there on"}), text));
    drop.addEventListener("click", () => { row.remove(); $("add-cue").focus(); this.#summary(); });
    $("cues").append(row);
    return {row, text};
  }

  /** The first frame of the next chunk after the last of these prompts. */
  #nextFrame() {
    const last = [...$("cues").querySelectorAll("input")].at(-1)?.valueAsNumber || 0;
    const {chunk_frames: chunk, condition_frames: old} = this.#plan, added = chunk - old;
    return last < chunk ? chunk : chunk + (Math.floor((last - chunk) / added) + 1) * added;
  }

  /** The input for a `param` of the API: `prompt[1]` is the first of the later prompts, sorted by frame. */
  #place(param) {
    const cue = /^prompt\[(\d+)\](?:\.(\w+))?/.exec(param ?? "");
    if (cue && cue[1] > 0) {
      const rows = [...$("cues").children].sort(
        (a, b) => a.querySelector("input").valueAsNumber - b.querySelector("input").valueAsNumber);
      return rows[cue[1] - 1]?.querySelector(cue[2] === "from_frame" ? "input" : "textarea") ?? null;
    }
    if (cue) return $("prompt");
    return param ? document.querySelector(`#make #${CSS.escape(FIELDS[param] ?? param)}`) : null;
  }

  #unmark(field) {
    if (!field.hasAttribute("aria-invalid")) return;
    field.removeAttribute("aria-invalid");
    if (field !== $("prompt")) field.removeAttribute("aria-describedby");
    else setText($("prompt-error"), "");
  }

  #wait(error) {
    this.#waitsForSlot = ["too_many_videos", "queue_full"].includes(error.code);
    $("go").disabled = true;
    this.#stopCount = countdown(error.retryAfterS, (left) => {
      $("go").disabled = left > 0;
      setText($("go"), left ? `Try again in ${left} s` : "Make video");
      if (left === 0) setText($("make-error"), "");
    });
  }

  #setSource(source) {
    this.#source = source;
    setText($("origin-text"), source ? "A remix: the same seed and settings, with your changes." : "");
    $("origin").hidden = !source;
  }

  #chip(label, text) {
    const put = () => {
      $("prompt").value = text();
      this.#unmark($("prompt"));
      $("prompt").focus();
    };
    return element("button", {type: "button", className: "chip", textContent: label, onclick: put});
  }

  #summary() {
    const value = (name) => $(name).value || $(name).placeholder;
    const frames = Number(value("num_frames")), fps = Number(value("fps"));
    const parts = [];
    if (frames && fps) parts.push(`${frames} frames, ${(frames / fps).toFixed(1)} s`);
    if (value("width")) parts.push(`${value("width")} × ${value("height")}`);
    parts.push($("seed").value ? `seed ${$("seed").value}` : "random seed");
    setText($("settings-sum"), parts.join(" · "));
  }
}
