// The progress of a video over its frames: chunks generated, windows refined step by step, segments final, and the
// position of the player. Neighbouring windows overlap, so every other one is in a second lane.

import {$} from "./dom.js";
import {plan} from "./plan.js";

export class Timeline {
  #take = null; #cells = {}; #counts = {};

  /** Calls `onSeek(frame)` when the slider is moved. */
  constructor(onSeek) {
    $("seek").addEventListener("input", () => onSeek(Number($("seek").value)));
  }

  attach(take) {
    this.#take = take;
    const cut = plan(take);
    const inside = cut.chunks.filter(([start]) => start < take.num_frames);
    this.#cells = {
      chunks: this.#row("chunks", inside),
      windows: this.#row("windows", cut.windows),
      segments: this.#row("segments", cut.segments),
    };
    cut.windows.forEach((_, k) => { this.#cells.windows[k].dataset.lane = k % 2; });
    this.#counts = {
      generate: [0, cut.chunks.length], refine: [0, 0], final: [0, cut.segments.length],
    };
    $("seek").max = take.num_frames - 1;
    this.marks(take.prompts);
    this.#drawCounts();
    this.head(0);
    $("timeline").hidden = false;
  }

  /** Draws a flag at each change of the prompt. */
  marks(prompts) {
    const flags = prompts.slice(1).map((one) => {
      const flag = document.createElement("span");
      flag.style.left = `${100 * one.from_frame / this.#take.num_frames}%`;
      return flag;
    });
    $("marks").replaceChildren(...flags);
  }

  chunk(index) {
    this.#set("chunks", index, 1);
  }

  /** Shows the progress of one window. */
  window(index, step, steps) {
    this.#set("windows", index, step / steps);
  }

  segment(index) {
    this.#set("segments", index, 1);
    this.#set("windows", index, 1);
  }

  progress({generate, refine, segments}) {
    this.#counts = {
      generate: [generate.done, generate.total],
      refine: [refine.done, refine.total],
      final: [segments.done, segments.total],
    };
    this.#drawCounts();
  }

  /** Fills everything: a finished video sends no more events. */
  complete() {
    for (const name of Object.keys(this.#cells)) this.#cells[name].forEach((_, i) => this.#set(name, i, 1));
    for (const count of Object.values(this.#counts)) count[0] = count[1];
    this.#drawCounts();
  }

  head(seconds) {
    const {num_frames: all, fps} = this.#take;
    const frame = Math.min(all - 1, Math.floor(seconds * fps + 0.001));
    $("head").style.left = `${Math.min(100, 100 * seconds * fps / all)}%`;
    const slider = $("seek"), text = `frame ${frame} of ${all}, ${(frame / fps).toFixed(1)} seconds`;
    if (Number(slider.value) !== frame) slider.value = frame;
    if (slider.ariaValueText !== text) slider.ariaValueText = text;
  }

  #row(name, spans) {
    const all = this.#take.num_frames;
    const cells = spans.map(([start, stop]) => {
      const cell = document.createElement("i");
      cell.dataset.state = "empty";
      cell.dataset.start = start;
      cell.style.left = `${100 * start / all}%`;
      cell.style.width = `${100 * (Math.min(stop, all) - start) / all}%`;
      return cell;
    });
    $(name).replaceChildren(...cells);
    return cells;
  }

  #set(name, index, part) {
    const cell = this.#cells[name]?.[index];
    if (!cell || cell.dataset.state === "done") return; // events can repeat; progress never goes back
    cell.dataset.state = part >= 1 ? "done" : "part";
    cell.style.setProperty("--part", part);
    const row = {chunks: "generate", segments: "final"}[name];
    if (row) this.#counts[row][0] = Math.max(this.#counts[row][0], this.#done(name));
    this.#drawCounts();
  }

  #done(name) {
    return this.#cells[name].filter((cell) => cell.dataset.state === "done").length;
  }

  #drawCounts() {
    const units = {generate: "chunks", refine: "steps", final: "segments"};
    const tracks = {generate: "chunks", refine: "windows", final: "segments"};
    for (const [row, [done, total]] of Object.entries(this.#counts)) {
      const text = total ? `${done} / ${total} ${units[row]}` : "";
      $(`${row}-count`).textContent = text;
      const track = $(tracks[row]);
      track.ariaValueMax = total || 1;
      track.ariaValueNow = done;
      track.ariaValueText = total ? `${done} of ${total} ${units[row]}` : "not started";
    }
  }
}
