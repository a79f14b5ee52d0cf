"""SCuts: scene cuts in a video (StreamingT2V, section 5.2). Unit: cuts; lower is better; a long take has 0."""

import numpy as np
from jaxtyping import UInt8
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector


def scuts(frames: UInt8[np.ndarray, "t h w c"], fps: float = 8.0) -> int:
    """Cuts that PySceneDetect's AdaptiveDetector finds with its default parameters in RGB frames.

    One of these is a minimum of 15 frames between two cuts, so seams 8 frames apart are counted every other time.
    """
    detector = AdaptiveDetector()
    cuts: list[FrameTimecode] = []
    for number, frame in enumerate(frames):
        time = FrameTimecode(number, fps=fps)
        cuts += detector.process_frame(time, np.ascontiguousarray(frame[..., ::-1]))  # it expects BGR
    cuts += detector.post_process(FrameTimecode(len(frames), fps=fps))
    return len(cuts)
