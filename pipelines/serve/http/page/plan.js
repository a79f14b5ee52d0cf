// The division of a video, as in models/domain/plan.py: chunks of the base model, windows of the refiner, segments.
//
//     frames    0       8       16      24      32      40
//     chunks    |---------------|-------|-------|-------|
//     windows   |-----------------------|
//                               |-----------------------|
//     segments  |---------------|-----------------------|
//
// The continuation of an uploaded video may begin inside its plan, at `shift_frames`: pieces before that are not shown.

/** {chunks, windows, segments} of a video: lists of [start, stop) in frames. */
export function plan({num_frames: numShown, plan: sizes}) {
  const shift = sizes.shift_frames ?? 0, numFrames = numShown + shift;
  const {chunk_frames: chunk, window_frames: window} = sizes;
  const added = chunk - sizes.condition_frames, stride = window - sizes.overlap_frames;
  const count = 1 + Math.max(0, Math.ceil((numFrames - window) / stride));
  const windows = Array.from({length: count}, (_, k) => [k * stride, k * stride + window]);
  const last = windows[count - 1][1];
  const chunks = [[0, chunk]];
  for (let start = chunk; start < last; start += added) chunks.push([start, start + added]);
  const segments = windows.map(([start], k) => [start, k + 1 < count ? windows[k + 1][0] : numFrames]);
  const shown = (spans) => spans.map(([start, stop]) => [Math.max(0, start - shift), stop - shift]);
  const skipped = segments.filter(([, stop]) => stop <= shift).length;
  return {
    chunks: shown(chunks.filter(([, stop]) => stop > shift)),
    windows: shown(windows.slice(skipped)), segments: shown(segments.slice(skipped)),
  };
}

/** The prompt at `frame`. `prompts` is a list of {from_frame, prompt}. */
export function promptAt(prompts, frame) {
  return prompts.findLast((one) => one.from_frame <= frame) ?? prompts[0];
}
