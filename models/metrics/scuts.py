"""SCuts: scene cuts in a video (StreamingT2V, section 5.2). Unit: cuts; lower is better; a long take has 0."""

import numpy as np
from jaxtyping import UInt8
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector


class CutCounter:
    """Counts cuts in RGB frames that come one by one, by PySceneDetect's AdaptiveDetector and its default parameters.

    One of these is a minimum of 15 frames between two cuts, so seams 8 frames apart are counted every other time.
    """

    def __init__(self, fps: float = 8.0) -> None:
        self._detector, self._fps = AdaptiveDetector(), fps
        self._num_frames = 0
        self.num_cuts = 0  # so far: each is detected two frames late

    def add(self, frame: UInt8[np.ndarray, "h w c"]) -> None:
        """The next frame."""
        bgr = np.ascontiguousarray(frame[..., ::-1])  # as the detector expects it
        self.num_cuts += len(self._detector.process_frame(self._time(), bgr))
        self._num_frames += 1

    def finish(self) -> int:
        """The number of cuts in all frames."""
        return self.num_cuts + len(self._detector.post_process(self._time()))

    def _time(self) -> FrameTimecode:
        return FrameTimecode(self._num_frames, fps=self._fps)
