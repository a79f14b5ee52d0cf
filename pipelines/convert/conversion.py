"""A checked conversion: what is written where. It reads each source once for its digest, and once to write."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from longtake.models.convert.placement import Part, Take
from longtake.pipelines.config.bundle_file import FORMAT, NAME
from longtake.pipelines.convert.checkpoint import DTYPES, PIECE_BYTES, Checkpoint, pieces
from longtake.pipelines.convert.new_folder import new_folder
from longtake.pipelines.convert.records import RecordSums
from longtake.pipelines.convert.safetensors_files import Weight, write_weights
from longtake.pipelines.convert.sources import Copied
from longtake.pipelines.terminal.exit_codes import Refused
from longtake.pipelines.terminal.progress import StatusLine, counts, doing

logger = logging.getLogger(__name__)
LICENCE = "CC BY-NC 4.0, as stated by their authors; check their pages"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Conversion:
    """`index` is the content of model_index.json but for the parts; `texts` are further JSON files."""

    out: Path
    checkpoint: Checkpoint
    parts: Sequence[Part]
    copied: Sequence[Copied]
    index: Mapping[str, Sequence[str]]
    texts: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, str]
    defaults: Mapping[str, Any]

    def run(self) -> str:
        """Writes the folder and returns a line on it.

        Raises Refused for a disk without room, a busy folder, and a checkpoint with damaged bytes.
        """
        meter = Meter(self._work_bytes())
        _check_room(self.out.parent, self._written_bytes())
        with doing(meter.status), new_folder(self.out) as folder:
            sources = [{**_checked_digest(self.checkpoint, meter), "parts": [part.name for part in self.parts]}]
            for part in self.parts:
                meter.what = f"writing {part.name}"
                _write_part(folder / part.name, part, self.checkpoint, meter)
            for copied in self.copied:
                meter.what = f"taking over {copied.name}"
                sources.append({**_digest(copied.source, meter), "file": copied.name, "parts": [copied.part]})
                _take_over(copied.source, folder / copied.name)
            for name, content in self._texts(sources).items():
                _write_json(folder / name, content)
        return self._summary()

    def _texts(self, sources: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        names = [part.name for part in self.parts]
        licence = {"parts": names, "text": f"{self.checkpoint.path.name}: {LICENCE}"}
        left_out = [{"tensor": name, "reason": reason} for name, reason in self.left_out.items()]
        record = {"format": FORMAT, "sources": sources, "left_out": left_out, "licences": [licence]}
        index = {"_class_name": "Longtake", **{part.name: part.entry for part in self.parts}, **self.index}
        return {**self.texts, "model_index.json": index, NAME: {**record, "defaults": self.defaults}}

    def _written_bytes(self) -> int:
        takes = (take for part in self.parts for take in part.tensors.values())
        return sum(_num_bytes(take, self.checkpoint) for take in takes)

    def _work_bytes(self) -> int:
        return self._written_bytes() + sum(
            path.stat().st_size for path in (self.checkpoint.path, *(copied.source for copied in self.copied))
        )

    def _summary(self) -> str:
        tensors, size = sum(len(part.tensors) for part in self.parts), self._written_bytes()
        names = ", ".join(part.name for part in self.parts)
        placed = len(self.checkpoint.tensors) - len(self.left_out)
        left = f"; {len(self.left_out)} left out, each with its reason in {NAME}" if self.left_out else ""
        return f"{self.out}: {placed} tensors as {tensors} of {names}, {size / 1e9:.1f} GB{left}"


class Meter:
    """Bytes that were read for digests or written, of all."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self.what = "reading"

    def add(self, num_bytes: int) -> None:
        self._done += num_bytes

    def status(self, seconds: float) -> StatusLine:
        return counts(self._done // MIB, self._total // MIB, "MiB", seconds, notes=self.what)


def _write_part(folder: Path, part: Part, checkpoint: Checkpoint, meter: Meter) -> None:
    folder.mkdir()
    _write_json(folder / "config.json", part.config)
    stem = "model" if part.entry[0] == "transformers" else "diffusion_pytorch_model"
    with checkpoint.path.open("rb") as file:
        write_weights(folder, stem, _weights(part, checkpoint, file), meter.add)


def _weights(part: Part, checkpoint: Checkpoint, file: BinaryIO) -> list[Weight]:
    weights = []
    for name, take in part.tensors.items():
        stored = checkpoint.tensors[take.source]
        read = partial(pieces, file, stored, take)
        weights.append(Weight(name, DTYPES[stored.dtype], take.shape, _num_bytes(take, checkpoint), read))
    return weights


def _num_bytes(take: Take, checkpoint: Checkpoint) -> int:
    return checkpoint.tensors[take.source].num_bytes // (1 if take.third is None else 3)


def _checked_digest(checkpoint: Checkpoint, meter: Meter) -> dict[str, Any]:
    sums = RecordSums(checkpoint.records)

    def see(piece: bytes) -> None:
        sums.add(piece)
        if sums.damaged is not None:
            checkpoint.refuse_damaged(sums.damaged)

    return _digest(checkpoint.path, meter, see)


def _digest(path: Path, meter: Meter, see: Callable[[bytes], None] = lambda piece: None) -> dict[str, Any]:
    """The record of a file, which `see` gets piece by piece."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            see(piece)
            digest.update(piece)
            size += len(piece)
            meter.add(len(piece))
    return {"file": path.name, "bytes": size, "sha256": digest.hexdigest()}


def _take_over(source: Path, target: Path) -> None:
    """A copy, or a second name for gigabytes of weights, where the file system has such a thing.

    Programs that write weights replace the file (safetensors does), which leaves the other name as it was; people edit
    the other files in place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".safetensors":
        with suppress(OSError):
            return os.link(source.resolve(), target)
    shutil.copyfile(source, target)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Refused(f"out: {folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed")
