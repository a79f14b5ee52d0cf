"""Measures videos, one by one: what a worker of an evaluation holds. An unreadable one is a row with its reason."""

import io
import logging
import tarfile
import time
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import torch
from jaxtyping import UInt8
from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from longtake.models.metrics.clip import Clip
from longtake.models.metrics.flow import Flow, dis, raft_large
from longtake.models.metrics.measure import measure
from longtake.models.stages.bundle import load_bundle
from longtake.models.video.mp4 import decode_stream, video_stream
from longtake.pipelines.config.paths import BUNDLES
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.settings import EvaluateConf
from longtake.pipelines.runners.bundle_limits import bundle_path
from longtake.pipelines.runners.stages import quiet

logger = logging.getLogger(__name__)
RAFT_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"  # torchvision's Raft_Large_Weights.DEFAULT
CLIP_PARTS = ("image_encoder", "text_encoder", "tokenizer")


class Measurer:
    """`measurer(item)`: the row of one video. Built once in each worker."""

    def __init__(self, conf: EvaluateConf) -> None:
        quiet()
        torch.set_num_threads(1)
        self._size, self._flow = conf.size, load_flow(flow_name(conf.flow, conf.size))
        self._clip = None if conf.clip is None else load_clip(conf.clip)

    def __call__(self, video: Listed) -> dict[str, Any]:
        """Columns and values; `curve_*` are numbers over the video."""
        own = {"path": video.path, "id": video.id, "prompt": video.prompt, "seed": video.seed, "url": video.url}
        began = time.process_time()
        try:
            if video.reason is not None:
                raise ValueError(f"it was not made: {video.reason}")
            frames, fps = read_video(video)
            made = measure(
                frames, fps, self._flow, size=self._size, prompt=video.prompt, borders=video.borders, clip=self._clip
            )
        except Exception as error:  # each library has its own, and the others have to go on
            reason = " ".join(str(error).split()) or type(error).__name__
            return {**own, "status": "failed", "reason": reason[:500], "seconds": time.process_time() - began}
        curves = {f"curve_{name}": curve.astype(np.float32).tolist() for name, curve in made.curves.items()}
        seconds = round(time.process_time() - began, 3)
        return {**own, "status": "done", "reason": None, **made.values, "seconds": seconds, **curves}


def read_video(video: Listed) -> tuple[UInt8[np.ndarray, "t h w 3"], float]:
    """All its frames, and frames a second. Raises ValueError, OSError or av.FFmpegError with the reason."""
    data = read_bytes(video)
    with av.open(io.BytesIO(data), "r") as container:
        stream = video_stream(container)
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        frames = list(decode_stream(container, stream))
    if not frames:
        raise ValueError("it has no frames")
    return np.stack(frames), fps if 0 < fps < 1000 else 25.0


def read_bytes(video: Listed) -> bytes:
    """The file as it is, out of its tar if it lies in one."""
    with fsspec.open(video.url, "rb") as file:
        if video.member is None:
            data: bytes = file.read()
            return data
        with tarfile.open(fileobj=file) as tar:
            member = tar.extractfile(video.member)
            if member is None:
                raise ValueError(f"{video.member} is no file in {video.url}")
            return member.read()


def flow_name(asked: str, size: int) -> str:
    """The method that is meant by `auto`: the best that is there and takes frames of `size` pixels a side.

    Raises ValueError for one that is not there, or does not.
    """
    missing = _missing_raft()
    if size < 128 or size % 8:
        missing = f"size={size} must be a multiple of 8 and at least 128 for it"
    if asked == "auto":
        return "dis" if missing else "raft_large"
    if asked == "raft_large" and missing:
        raise ValueError(f"flow=raft_large: {missing}")
    return asked


def _missing_raft() -> str | None:
    """What RAFT lacks here."""
    try:
        import torchvision.models.optical_flow  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return f"torchvision cannot be imported ({error})"
    weights = Path(torch.hub.get_dir(), "checkpoints", RAFT_FILE)
    return None if weights.is_file() else f"its weights are not at {weights}"


def load_flow(name: str) -> Flow:
    if name == "dis":
        return dis()
    from torchvision.models.optical_flow import raft_large as build

    weights = Path(torch.hub.get_dir(), "checkpoints", RAFT_FILE)
    model = build(weights=None)
    model.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return raft_large(model.eval())


def load_clip(place: str) -> Clip:
    """Of a bundle (its name or folder), or of a folder with a transformers CLIP. Raises ValueError naming `clip`."""
    if (BUNDLES / place / "model_index.json").is_file() or (Path(place) / "model_index.json").is_file():
        parts = load_bundle(bundle_path(place), wanted=lambda name: name in CLIP_PARTS).parts
        if not set(CLIP_PARTS) <= set(parts):
            raise ValueError(f"clip={place}: the bundle has no {', '.join(set(CLIP_PARTS) - set(parts))}")
        return Clip(*(parts[name] for name in CLIP_PARTS))
    if not (Path(place) / "config.json").is_file():
        raise ValueError(f"clip={place} must be a bundle or a folder with a transformers CLIP model")
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    image, text = (
        kind.from_pretrained(place, **options).eval()
        for kind in (CLIPVisionModelWithProjection, CLIPTextModelWithProjection)
    )
    return Clip(image, text, AutoTokenizer.from_pretrained(place, local_files_only=True))
