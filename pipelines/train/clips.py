"""Training clips from captioned videos, on Ray Data: one parquet file per video, one row group per clip.

    list_videos ──► Ray Data: ClipEncoder on every worker ──► work/clips/<video>.parquet ──► ClipFolder (each trainer)

Networks that are not trained process every clip once, here. A file is complete or absent, so a killed preparation can
continue. Trainers draw any clip by its number: a resumed training draws the same ones.
Shapes: t frames of the target, f condition frames, c h w latent channels, rows, columns, H W pixels, e embedding.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.image import embed_images
from longtake.models.nets.latents import encode_images, factor
from longtake.models.nets.text import check_length
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.params import base_size
from longtake.models.training.memories import CLIP_FRAMES, CONDITION, TARGET, MemoryBatch
from longtake.models.video.fit import Fit
from longtake.models.video.frames import fit_frames, to_float, to_uint8
from longtake.models.video.notes import notes_text
from longtake.models.video.reader import VideoReader
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.datasets.video_workers import map_videos
from longtake.pipelines.runners.stages import quiet
from longtake.pipelines.train.settings import NEEDED, CutParams, Cutting

NOTES = "notes"  # in the metadata of a file: `notes_text` of its video
ARRAYS = ("latents", "condition", "anchor", "anchor_frame")


class ClipEncoder:
    """`encoder(video)` writes the clips of one video and returns their number. Built once in each worker."""

    def __init__(self, cutting: Cutting) -> None:
        quiet()
        torch.set_num_threads(1)
        self.cutting, self._params, self._device = cutting, cutting.clips, cutting.device
        path, pickles = bundle_path(cutting.bundle, cutting.allow_pickle), cutting.allow_pickle
        keep = NEEDED.__contains__
        parts = load_bundle(path, self._device, keep=keep, required=NEEDED, allow_pickle=pickles).parts
        self._vae, self._images, self._tokenizer = parts["vae"], parts["image_encoder"], parts["tokenizer"]
        self._limit = parts["text_encoder"].config.max_position_embeddings
        self._size = base_size(cutting.base, parts["unet"].config.sample_size, factor(self._vae))

    def __call__(self, video: Listed) -> dict[str, Any]:
        """{"reason"}: why the video has no clips, or None. Everything else is in its file."""
        try:
            self._write(video)
        except Exception as error:  # each library has its own
            return {"reason": " ".join(str(error).split()) or type(error).__name__}
        return {"reason": None}

    @torch.inference_mode()
    def _write(self, video: Listed) -> None:
        video.check()
        if not (video.prompt or "").strip():
            raise ValueError("it has no caption: a column prompt, text or caption")
        check_length(self._tokenizer, video.prompt or "", self._limit)
        spread = np.arange(CLIP_FRAMES) * self._params.stride
        with video.local() as path, path.open("rb") as source, VideoReader(source) as reader:
            try:
                starts = clip_starts(reader.num_frames, self._params)
            except ValueError as error:  # it may be short because it is damaged
                raise ValueError("; ".join([str(error), *reader.notes])) from None
            needed = {start + int(offset) for start in starts for offset in spread}
            # Only the needed frames are kept, at a small size: a long video would not fit into memory.
            kept = {n: self._small(frame) for n, frame in enumerate(reader.frames()) if n in needed}
            schema = SCHEMA.with_metadata({NOTES: notes_text(reader.notes) or ""})
        target = clip_file(self.cutting.clip_folder, video)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for start in starts:
                clip = np.stack([kept[start + int(offset)] for offset in spread])
                writer.write_table(self._table(clip, video, start), row_group_size=1)
        part.replace(target)

    def _small(self, frame: UInt8[np.ndarray, "h0 w0 3"]) -> UInt8[np.ndarray, "H W 3"]:
        small: UInt8[np.ndarray, "H W 3"] = to_uint8(fit_frames(frame[None], *self._size, Fit.COVER))[0]
        return small

    def _table(self, clip: UInt8[np.ndarray, "32 H W 3"], video: Listed, start: int) -> pa.Table:
        latents = torch.cat([encode_images(self._vae, image[None]) for image in to_float(clip)])
        rng = rng_for(self.cutting.seed, f"train-clip/{video.path}", start, 0)
        seen = torch.cat([latents[int(rng.integers(CONDITION.start))][None], latents[CONDITION]])
        noise = torch.from_numpy(rng.standard_normal(seen.shape, dtype=np.float32))
        noisy = (seen + rng.uniform(0, self._params.latent_noise) * noise) / self._vae.config.scaling_factor
        decoded = to_uint8(self._vae.decode(noisy.to(self._device)).sample)
        embed = embed_images(self._images, to_float(decoded[:1]).to(self._device))[0].cpu().numpy()
        arrays = (latents[TARGET].half().numpy(), decoded[1:], embed, decoded[0])
        columns: dict[str, Any] = {"path": [video.path], "start": [start], "caption": [video.prompt]}
        for name, array in zip(ARRAYS, arrays, strict=True):
            columns |= {name: [array.tobytes()], f"{name}_shape": [list(array.shape)]}
        return pa.table(columns, SCHEMA)


SCHEMA = pa.schema(
    [("path", pa.string()), ("start", pa.int64()), ("caption", pa.string())]
    + [column for name in ARRAYS for column in ((name, pa.binary()), (f"{name}_shape", pa.list_(pa.int64())))]
)


def clip_starts(num_frames: int, params: CutParams) -> list[int]:
    """First frames of a video's clips. Raises ValueError for a video that is shorter than one clip."""
    spread = (CLIP_FRAMES - 1) * params.stride + 1
    if num_frames < spread:
        raise ValueError(f"it has {num_frames} frames: a clip needs {spread} (clips.stride={params.stride})")
    last = num_frames - spread
    return [round(start) for start in np.linspace(0, last, min(params.per_video, last + 1))]


def clip_file(folder: Path, video: Listed) -> Path:
    """The file for the clips of a video; another caption, or another version of the video, has another file."""
    return folder / f"{video.digest}.parquet"


def encode_clips(videos: Sequence[Listed], cutting: Cutting) -> Iterator[tuple[Listed, str | None]]:
    """Each video with the reason why it has no clips, or None, from workers of the cluster this process has joined."""
    import ray

    num_gpus = 1 if cutting.device == "cuda" else 0
    there = ray.cluster_resources().get("GPU" if num_gpus else "CPU", 1)  # type: ignore[no-untyped-call]
    for video, row in map_videos(videos, ClipEncoder, (cutting,), int(there), num_gpus=num_gpus):
        yield video, row if isinstance(row, str) else row["reason"]


class ClipFolder:
    """The clips of some files (file, number of clips): `Memories` of models/training/memories.py."""

    def __init__(self, files: Sequence[tuple[Path, int]]) -> None:
        self._places = [(file, row) for file, count in files for row in range(count)]

    @staticmethod
    def about(file: Path) -> tuple[int, str | None]:
        """The number of clips in a file, and the notes of its video; none without a file."""
        if not file.exists():
            return 0, None
        about = pq.read_metadata(file)
        return about.num_row_groups, (about.metadata or {}).get(NOTES.encode(), b"").decode() or None

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> MemoryBatch:
        clips = [self.clip(int(row)) for row in rows]
        latents, anchors = (
            torch.from_numpy(np.stack([clip[name] for clip in clips])) for name in ("latents", "anchor")
        )
        condition = np.stack([clip["condition"] for clip in clips])
        return MemoryBatch(latents, condition, anchors, [clip["caption"] for clip in clips])

    def weight(self, rows: np.ndarray, timestep: Tensor) -> Float[Tensor, "b 1 t h w"] | None:
        """None: every latent has the same weight, as nothing is known about the objects."""
        return None

    def clip(self, row: int) -> dict[str, Any]:
        """Every column of one clip, arrays as arrays."""
        file, group = self._places[row]
        (values,) = pq.ParquetFile(file).read_row_group(group).to_pylist()
        kinds = {"latents": np.float16, "anchor": np.float32}
        for name in ARRAYS:
            flat = np.frombuffer(values[name], kinds.get(name, np.uint8))
            values[name] = flat.reshape(values[f"{name}_shape"]).copy()
        return dict(values)
