"""Weights as safetensors, written tensor by tensor: safetensors' own writer wants all of a file in memory.

8 bytes: length of the header | header: JSON with dtype, shape and place of each tensor | the values, without gaps
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.pipelines.files.store import named

SHARD_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor to write; `pieces` yields its bytes in order."""

    name: str
    dtype: str  # F32, F16 or BF16
    shape: tuple[int, ...]
    num_bytes: int
    pieces: Callable[[], Iterable[memoryview]]


def write_weights(
    folder: Path, stem: str, weights: Sequence[Weight], wrote: Callable[[int], None], shard_bytes: int | None = None
) -> None:
    """Writes STEM.safetensors, or several files and their index if they would be larger than `shard_bytes`."""
    shards = list(_shards(weights, shard_bytes or SHARD_BYTES))
    names = [f"{stem}.safetensors"]
    if len(shards) > 1:
        names = [f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
        places = {weight.name: name for name, shard in zip(names, shards, strict=True) for weight in shard}
        index = {"metadata": {"total_size": sum(weight.num_bytes for weight in weights)}, "weight_map": places}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2), "utf-8")
    for name, shard in zip(names, shards, strict=True):
        _write(folder / name, shard, wrote)


def _shards(weights: Sequence[Weight], limit: int) -> Iterator[list[Weight]]:
    shard: list[Weight] = []
    # Wide numbers first, so that each tensor begins at a multiple of its width.
    for weight in sorted(weights, key=lambda one: (one.dtype != "F32", one.name)):
        if shard and sum(one.num_bytes for one in shard) + weight.num_bytes > limit:
            yield shard
            shard = []
        shard.append(weight)
    yield shard


def _write(path: Path, weights: Sequence[Weight], wrote: Callable[[int], None]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for weight in weights:
        ends = [place, place := place + weight.num_bytes]
        header[weight.name] = {"dtype": weight.dtype, "shape": weight.shape, "data_offsets": ends}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with named(path), path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for weight in weights:
            for piece in weight.pieces():
                file.write(piece)
                wrote(len(piece))
        file.flush()
        os.fsync(file.fileno())
    assert path.stat().st_size == 8 + len(text) + place, "the pieces of a tensor are its bytes"
