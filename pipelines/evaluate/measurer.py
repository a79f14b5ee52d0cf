"""Measures videos one by one, in each worker of an evaluation. An unreadable video is a row with its reason."""

import io
import time
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from longtake.models.metrics.measure import measure
from longtake.models.video.reader import VideoReader
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.networks import flow_name, load_clip, load_flow
from longtake.pipelines.evaluate.settings import EvaluateConf
from longtake.pipelines.runners.stages import quiet


class Measurer:
    """`measurer(video)`: the row of one video. Built once in each worker."""

    def __init__(self, conf: EvaluateConf) -> None:
        quiet()
        torch.set_num_threads(1)
        self._size, self._flow = conf.size, load_flow(flow_name(conf.flow, conf.size))
        self._clip = None if conf.clip is None else load_clip(conf.clip)

    def __call__(self, video: Listed) -> dict[str, Any]:
        """Columns and values; `curve_*` are values over the frames of the video."""
        own = {"path": video.path, "id": video.id, "prompt": video.prompt, "seed": video.seed, "url": video.url}
        began = time.process_time()
        try:
            if video.reason is not None:
                raise ValueError(f"it was not made: {video.reason}")
            frames, fps = read_video(video)
            measured = measure(
                frames, fps, self._flow, size=self._size, prompt=video.prompt, borders=video.borders, clip=self._clip
            )
        except Exception as error:  # each library has its own; one broken video must not end the evaluation
            reason = " ".join(str(error).split()) or type(error).__name__
            return {**own, "status": "failed", "reason": reason[:500], "seconds": time.process_time() - began}
        curves = {f"curve_{name}": curve.astype(np.float32).tolist() for name, curve in measured.curves.items()}
        seconds = round(time.process_time() - began, 3)
        return {**own, "status": "done", "reason": None, **measured.values, "seconds": seconds, **curves}


def read_video(video: Listed) -> tuple[UInt8[np.ndarray, "t h w 3"], float]:
    """All frames, and the frames per second. Raises ValueError or OSError with the reason."""
    with VideoReader(io.BytesIO(video.read())) as reader:
        return np.stack(list(reader.frames())), float(reader.fps)
