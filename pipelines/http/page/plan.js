// How a video is cut, as in models/plan.py: chunks of the base model, windows of the refiner, segments for viewers.
//
//     frames    0       8       16      24      32      40
//     chunks    |---------------|-------|-------|-------|
//     windows   |-----------------------|
//                               |-----------------------|
//     segments  |---------------|-----------------------|

const CHUNK = 16, NEW = 8, WINDOW = 24, STRIDE = 16;

/** {chunks, windows, segments} of a video of `numFrames`: lists of [start, stop), in frames. */
export function plan(numFrames) {
  const count = 1 + Math.max(0, Math.ceil((numFrames - WINDOW) / STRIDE));
  const windows = Array.from({length: count}, (_, k) => [k * STRIDE, k * STRIDE + WINDOW]);
  const last = windows[count - 1][1];
  const chunks = [[0, CHUNK]];
  for (let start = CHUNK; start < last; start += NEW) chunks.push([start, start + NEW]);
  const segments = windows.map(([start], k) => [start, k + 1 < count ? windows[k + 1][0] : numFrames]);
  return {chunks, windows, segments};
}

/** The prompt in effect at `frame`: `prompts` is the schedule of a video, a list of {from_frame, prompt}. */
export function promptAt(prompts, frame) {
  return prompts.findLast((one) => one.from_frame <= frame) ?? prompts[0];
}
