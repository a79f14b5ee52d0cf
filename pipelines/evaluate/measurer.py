"""Measures videos one by one, in each worker of an evaluation. An unreadable video is a row with its reason."""

import time
from typing import Any

import numpy as np
import torch

from longtake.models.metrics.measure import measure
from longtake.models.video.bars import without_bars
from longtake.models.video.notes import notes_text
from longtake.models.video.reader import VideoReader
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.networks import flow_name, load_clip, load_flow
from longtake.pipelines.evaluate.results import DONE, failed_row, known_columns
from longtake.pipelines.evaluate.settings import EvaluateConf
from longtake.pipelines.runners.stages import quiet


class Measurer:
    """`measurer(video)`: the row of one video. Built once in each worker."""

    def __init__(self, conf: EvaluateConf) -> None:
        quiet()
        torch.set_num_threads(1)
        self._size, self._flow = conf.size, load_flow(flow_name(conf.flow, conf.size))
        self._clip = None if conf.clip is None else load_clip(conf.clip, conf.allow_pickle)

    def __call__(self, video: Listed) -> dict[str, Any]:
        """Columns and values; `curve_*` are values over the frames of the video."""
        began = time.process_time()
        try:
            measured = self._measured(video)
        except Exception as error:  # each library has its own; one broken video must not end the evaluation
            reason = " ".join(str(error).split()) or type(error).__name__
            return failed_row(video, reason[:500], time.process_time() - began)
        return {**known_columns(video), "status": DONE, **measured, "seconds": round(time.process_time() - began, 3)}

    def _measured(self, video: Listed) -> dict[str, Any]:
        about: dict[str, Any] = {"prompt": video.prompt, "borders": video.borders, "clip": self._clip}
        # An open file, because the name of a temporary copy would mean nothing to anybody.
        with video.local() as path, path.open("rb") as file, VideoReader(file) as reader:
            frames = without_bars(reader.frames()) if video.has_bars else reader.frames()
            found = measure(frames, float(reader.fps), self._flow, size=self._size, **about)
            values = {**found.values, "width": reader.width, "height": reader.height}
            notes = notes_text(reader.notes)
        curves = {f"curve_{name}": curve.astype(np.float32).tolist() for name, curve in found.curves.items()}
        return {"notes": notes, **values, **curves}
