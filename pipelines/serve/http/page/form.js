// The form: prompt, later prompts, settings. An error is shown below the field that it names. A reload keeps what was
// entered.

import {Cues} from "./cues.js";
import {$, countdown, element, setText, shortened} from "./dom.js";
import {mark, numberFault, unmark, withoutName} from "./fields.js";
import {DRAFT, recall, remember} from "./memory.js";
import {examples, hint, surprise} from "./world.js";

const NUMBERS = ["num_frames", "fps", "width", "height", "num_inference_steps", "guidance_scale", "seed"];
const SETTINGS = [...NUMBERS, "coupling", "negative_prompt"];
const FIELDS = {size: "width", seconds: "num_frames"}; // fields of the API that have another name here
const CHECK_MS = 400; // after the last change

export class Form {
  #defaults = {seconds: "4", fps: 8, width: 0, height: 0, coupling: "causal"};
  #source = null; // of a remix: {id, settings}
  #cues = new Cues(() => this.#changed());
  #stopCount = () => {};
  #canChange = false; // whether the displayed error may go away by itself
  #isCoupled = false; // whether the user has chosen a coupling
  #checking; // the timer of the next check

  /**
   * Calls `onMake(path, body)` on submit and shows the error that it throws. `onCheck(body)` resolves to what the
   * endpoint thinks of a request.
   */
  constructor(onMake, onCheck) {
    Object.assign(this, {onMake, onCheck});
    $("make").addEventListener("submit", (event) => { event.preventDefault(); this.#make(); });
    $("make").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("make").requestSubmit();
    });
    $("make").addEventListener("input", ({target}) => {
      if (target === $("coupling")) this.#isCoupled = true;
      unmark(target);
      this.#changed();
    });
    $("origin-drop").addEventListener("click", () => { this.#setSource(null); $("prompt").focus(); this.#changed(); });
    this.#restore();
  }

  setModel({id, defaults, limits}) {
    this.#defaults = defaults;
    this.#cues.plan = defaults.plan;
    for (const name of NUMBERS) if (defaults[name] !== undefined) $(name).placeholder = defaults[name];
    $("num_frames").placeholder = Math.round(Number(defaults.seconds) * defaults.fps);
    $("num_frames").max = limits.max_frames;
    $("num_inference_steps").max = limits.max_steps;
    for (const side of ["width", "height"]) {
      const {multiple, remainder} = limits[side];
      [$(side).step, $(side).min] = [multiple, remainder || multiple];
    }
    $("prompt").maxLength = limits.max_prompt_chars;
    if (!this.#isCoupled) $("coupling").value = defaults.coupling;
    const chips = examples(id).map((text) => this.#chip(text, () => text));
    if (id === "tiny") chips.push(this.#chip("Surprise me", surprise));
    $("examples").replaceChildren(...chips);
    setText($("prompt-hint"), hint(id), true);
    this.#changed();
  }

  /** Fills in the request of `video`. While only its prompts are changed, the result is a remix of it. */
  fill(video) {
    const [first, ...cues] = video.prompts;
    this.#put({prompt: first.prompt, cues, settings: video});
    this.clear();
    this.#setSource({id: video.id, settings: this.#settingsText()});
    this.#changed();
    $("prompt").focus();
    $("prompt").select();
  }

  /** A video was deleted: its settings stay in the form, but the result is not a remix of it. */
  forget(id) {
    if (this.#source?.id !== id) return;
    this.#setSource(null);
    setText($("make-note"), "The video of this remix was deleted. Its settings stay here, for a new video.");
    this.#changed();
  }

  /** A video has ended, or the endpoint is back: an error about that no longer holds. */
  retryNow() {
    if (this.#canChange) this.clear();
  }

  clear() {
    this.#stopCount();
    this.#canChange = false;
    $("go").disabled = false;
    setText($("go"), "Make video");
    setText($("make-error"), "");
    setText($("make-note"), "");
    for (const one of $("make").querySelectorAll("[aria-invalid]")) unmark(one);
  }

  /** Shows the error and moves the focus to its field. */
  refuse(error) {
    const place = this.#place(error.param);
    if (place) {
      mark(place, withoutName(error.message, error.param));
      if ($("settings").contains(place)) $("settings").open = true;
      place.focus();
    } else {
      setText($("make-error"), error.message);
    }
    this.#canChange = error.isFinal === false;
    if (error.retryAfterS) this.#wait(error);
  }

  async #make() {
    if ($("go").disabled) return;
    this.clear();
    if (this.#hasFaults()) return;
    $("go").disabled = true;
    setText($("go"), "Sending …");
    try {
      const note = await this.#send();
      this.clear();
      setText($("make-note"), note);
      this.#setSource(null);
      this.#changed();
    } catch (error) {
      this.clear();
      this.refuse(error);
    }
  }

  /** Sends the request; returns a note for the user. If the source of a remix is gone, its settings are enough. */
  async #send() {
    const body = this.#body();
    const isRemix = this.#source?.settings === this.#settingsText();
    try {
      if (isRemix) await this.onMake(`/v1/videos/${this.#source.id}/remix`, {prompt: body.prompt});
      else await this.onMake("/v1/videos", body);
      return "";
    } catch (error) {
      if (!isRemix || !error.isMissing) throw error;
    }
    this.#setSource(null);
    await this.onMake("/v1/videos", body);
    return "The video of this remix was deleted, so a new one is made with the same settings.";
  }

  /** Marks errors that can be found without the endpoint, and moves the focus to the first one. */
  #hasFaults() {
    const faults = new Map();
    const need = (input, text) => { if (!input.value.trim()) faults.set(input, text); };
    need($("prompt"), "Describe the video: the prompt is empty.");
    for (const {frame, text} of this.#cues.rows) {
      need(frame, "Enter a frame.");
      need(text, "Describe what happens from this frame on, or remove this prompt.");
    }
    if ($("width").value && $("height").validity.valid) need($("height"), "Give both width and height, or neither.");
    if ($("height").value && $("width").validity.valid) need($("width"), "Give both width and height, or neither.");
    for (const input of [...NUMBERS.map($), ...this.#cues.rows.map(({frame}) => frame)]) {
      const fault = numberFault(input);
      if (fault) faults.set(input, fault);
    }
    for (const [input, text] of faults) mark(input, text);
    const [first] = $("make").querySelectorAll("[aria-invalid]");
    if (!first) return false;
    if ([...faults.keys()].some((one) => $("settings").contains(one))) $("settings").open = true;
    first.focus();
    return true;
  }

  #prompt() {
    const cues = this.#cues.sorted.map(({frame, text}) => ({from_frame: frame.valueAsNumber || 0, prompt: text.value}));
    return cues.length ? [{from_frame: 0, prompt: $("prompt").value}, ...cues] : $("prompt").value;
  }

  /** The request. What equals a default is left out where the form cannot tell it from a choice. */
  #body() {
    const body = {prompt: this.#prompt()};
    for (const name of NUMBERS) if ($(name).value !== "") body[name] = $(name).valueAsNumber;
    if ($("negative_prompt").value) body.negative_prompt = $("negative_prompt").value;
    if ($("coupling").value !== this.#defaults.coupling) body.coupling = $("coupling").value;
    return body;
  }

  #settingsText() {
    return JSON.stringify(SETTINGS.map((name) => $(name).value));
  }

  /** The input for a `param` of the API: `prompt[1]` is the first of the later prompts, sorted by frame. */
  #place(param) {
    const [, index, part] = /^prompt\[(\d+)\](?:\.(\w+))?/.exec(param ?? "") ?? [];
    if (index > 0) return this.#cues.sorted[index - 1]?.[part === "from_frame" ? "frame" : "text"] ?? null;
    const name = index === "0" ? "prompt" : FIELDS[param] ?? param;
    return ["prompt", ...SETTINGS].includes(name) ? $(name) : null;
  }

  #wait(error) {
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

  /** Puts values into the fields. What is neither text nor a number, or has an unknown name, is skipped. */
  #put({prompt, cues, settings}) {
    const text = (value) => ["string", "number"].includes(typeof value) ? String(value) : "";
    $("prompt").value = text(prompt);
    const known = Array.isArray(cues) ? cues : [];
    this.#cues.put(known.map((cue) => ({from_frame: text(cue?.from_frame), prompt: text(cue?.prompt)})));
    for (const name of SETTINGS) if (name !== "coupling") $(name).value = text(settings?.[name]);
    this.#isCoupled = [...$("coupling").options].some((one) => one.value === settings?.coupling);
    $("coupling").value = this.#isCoupled ? settings.coupling : this.#defaults.coupling;
  }

  #restore() {
    const draft = recall(DRAFT), {source} = draft;
    this.#put(draft);
    $("settings").open = draft.isOpen === true;
    $("settings").addEventListener("toggle", () => this.#changed());
    const isSource = typeof source?.id === "string" && typeof source.settings === "string";
    this.#setSource(isSource ? {id: source.id, settings: source.settings} : null);
    this.#summary();
  }

  #changed() {
    const settings = Object.fromEntries(SETTINGS.map((name) => [name, $(name).value]));
    if (!this.#isCoupled) delete settings.coupling;
    const cues = this.#cues.rows.map(({frame, text}) => ({from_frame: frame.value, prompt: text.value}));
    remember(DRAFT, {prompt: $("prompt").value, cues, settings, source: this.#source, isOpen: $("settings").open});
    this.#summary();
    clearTimeout(this.#checking);
    this.#checking = setTimeout(() => this.#check(), CHECK_MS);
  }

  /** Names unknown words before the video is made. Errors are shown when it is made. */
  async #check() {
    const body = this.#body(), timer = this.#checking;
    const isEmpty = !$("prompt").value.trim();
    const found = isEmpty ? null : await this.onCheck(body).catch((error) =>
      error.isFinal && error.param !== "prompt" ? this.onCheck({prompt: body.prompt}).catch(() => null) : null);
    if (timer === this.#checking) setText($("prompt-words"), shortened(found?.warnings ?? []), true);
  }

  #chip(label, text) {
    const put = () => {
      $("prompt").value = text();
      unmark($("prompt"));
      this.#changed();
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
