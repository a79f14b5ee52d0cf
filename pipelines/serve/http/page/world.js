// Example prompts.

const TINY = {
  size: ["small", "large"],
  color: ["red", "green", "blue", "yellow", "magenta", "cyan", "orange", "white"],
  shape: ["circle", "square", "triangle", "ring"],
  motion: ["moves left", "moves right", "moves up", "moves down", "bounces"],
  style: ["plain", "gradient", "striped"],
  background: ["black", "gray", "navy", "brown", "olive", "teal"],
};

const EXAMPLES = {
  tiny: [
    "a large red circle moves right over a plain navy background",
    "a small yellow triangle bounces over a gradient teal background",
    "a large white ring moves up over a striped brown background",
  ],
  other: [
    "waves roll onto a beach at sunset, wide shot",
    "a train passes through snowy mountains, aerial view",
    "a fox walks through tall grass, close up",
  ],
};

export function examples(model) {
  return EXAMPLES[model] ?? EXAMPLES.other;
}

/** A random prompt in the words of the tiny model. */
export function surprise() {
  const any = (words) => words[Math.floor(Math.random() * words.length)];
  const {size, color, shape, motion, style, background} = TINY;
  return `a ${any(size)} ${any(color)} ${any(shape)} ${any(motion)} over a ${any(style)} ${any(background)} background`;
}

export function hint(model) {
  if (model !== "tiny") return "";
  return "This small model knows only moving shapes. Use the words of the examples.";
}
