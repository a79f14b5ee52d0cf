"""A file that torch.save wrote: the names, shapes and places of its tensors, without a byte of them.

No code in the file runs: `weights_only=True` builds tensors only. torch reads its pickle with `map_location="meta"`,
which notes where the bytes are and maps nothing, so the size of the file costs no memory.
"""

import math
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch

from longtake.models.convert.placement import Shape, Take, summary
from longtake.pipelines.convert.records import Record, records_of
from longtake.pipelines.terminal.exit_codes import Refused

LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)  # how torch.save began a file before version 1.6
DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}  # as safetensors calls them
MAX_PICKLE_BYTES = 64 << 20  # 3,407 names and shapes take half a megabyte
PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in the file. `start` is the place of its first value, `stride` counts values."""

    shape: Shape
    dtype: torch.dtype
    stride: Shape
    start: int

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def extent_bytes(self) -> int:
        """From the first value to the end of the last one."""
        steps = (stride * (length - 1) for length, stride in zip(self.shape, self.stride, strict=True))
        return (1 + sum(steps)) * self.dtype.itemsize if self.num_bytes else 0

    @property
    def is_contiguous(self) -> bool:
        """Whether its values are in order, without gaps. The stride of an axis of length 1 says nothing."""
        wanted = 1
        for length, stride in reversed([*zip(self.shape, self.stride, strict=True)]):
            if length != 1 and stride != wanted:
                return False
            wanted *= length
        return True


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a file by name."""

    path: Path
    tensors: Mapping[str, Stored]
    records: Sequence[Record]

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: stored.shape for name, stored in self.tensors.items()}

    def refuse_damaged(self, record: Record) -> NoReturn:
        """Raises Refused, naming the tensors in a record."""
        end = record.start + record.size
        inside = sorted(name for name, stored in self.tensors.items() if record.start <= stored.start < end)
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        named = f"{inside[0]}{more}" if inside else record.name
        rule = "its bytes do not have the checksum that torch.save wrote: copy or fetch the file again"
        raise Refused(f"checkpoint={self.path}: {named} is damaged, {rule}")


def open_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a file of weights, at its top or under "state_dict". Raises ValueError for any other file."""
    try:
        records = _records(path)
        content = _unpickled(path)
        return Checkpoint(path, _stored(_weights(content), path.stat().st_size), records)
    except ValueError as error:
        raise ValueError(f"checkpoint={path}: {error}") from None


def pieces(file: BinaryIO, stored: Stored, take: Take) -> Iterator[memoryview]:
    """The bytes that the bundle takes from a tensor of `file`. Raises OSError if the file has become shorter."""
    if stored.is_contiguous and not take.transposed:
        thirds = 1 if take.third is None else 3
        size = stored.num_bytes // thirds
        start = stored.start + (take.third or 0) * size
        for begin in range(0, size, PIECE_BYTES):
            yield memoryview(_read(file, start + begin, min(PIECE_BYTES, size - begin)))
        return
    values = torch.frombuffer(_read(file, stored.start, stored.extent_bytes), dtype=stored.dtype)
    tensor = values.as_strided(stored.shape, stored.stride)
    tensor = tensor if take.third is None else tensor.chunk(3)[take.third]
    tensor = tensor.T if take.transposed else tensor
    yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _read(file: BinaryIO, start: int, size: int) -> bytearray:
    data = bytearray(size)
    file.seek(start)
    if file.readinto(data) != size:  # type: ignore[attr-defined]
        raise OSError(f"{file.name} has changed: it ends before byte {start + size}")
    return data


def _records(path: Path) -> list[Record]:
    """The records. Raises ValueError for what torch would unpack, follow or read in another way than we do."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(LEGACY))
    except OSError as error:
        raise ValueError(error.strerror) from None
    if not begin:
        raise ValueError("the file is empty")
    if begin == LEGACY:
        raise ValueError("it has PyTorch's format from before 1.6; torch.load and torch.save it again with a newer one")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_records(archive, path.stat().st_size)
            records = records_of(archive, path)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        cut = " (it begins like one: is it cut off?)" if begin.startswith(b"PK") else ""
        raise ValueError(f"it is not a file of torch.save{cut}: {error}") from None
    for record in records:
        if record.name.endswith("/byteorder") and record.read(path) != b"little":
            raise ValueError("its numbers are not little-endian")
    return records


def _check_records(archive: zipfile.ZipFile, size: int) -> None:
    records = archive.infolist()
    packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
    if packed or sum(record.file_size for record in records) > size:
        which = packed[0] if packed else "its records"
        raise ValueError(f"{which} would take more room than the file has; torch.save packs nothing")
    names = [record.filename for record in records]
    if len(set(names)) < len(names):
        raise ValueError("two of its records have one name")
    pickles = [record for record in records if record.filename.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it is not a file of torch.save: it has {len(pickles)} records data.pkl")
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise ValueError(f"its list of tensors has {pickles[0].file_size} bytes, more than {MAX_PICKLE_BYTES}")


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # torch and pickle raise anything for a file that was made to
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise ValueError(f"it holds more than tensors ({found[1]}), and code in a file is never run") from None
        raise ValueError(f"torch cannot read it: {' '.join(str(error).split())[:200]}") from None


def _weights(content: Any) -> dict[str, torch.Tensor]:
    inner = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(inner, dict):
        raise ValueError(f"it holds a {type(inner).__name__}, not tensors by name")
    others = [f"{name!r} is a {type(value).__name__}" for name, value in inner.items()
              if not isinstance(value, torch.Tensor) or not isinstance(name, str)]  # fmt: skip
    if others or not inner:
        raise ValueError(
            f"it must hold tensors by name, at its top or under state_dict: {summary(others) or 'it is empty'}"
        )
    return inner


def _stored(tensors: Mapping[str, torch.Tensor], size: int) -> dict[str, Stored]:
    stored, wrong = {}, []
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.dtype not in DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
            wrong.append(f"{name} is {str(kind).removeprefix('torch.')}, expected one of {known}")
            continue
        storage = tensor.untyped_storage()
        begin = int(tensor.storage_offset()) * tensor.dtype.itemsize
        place: int = getattr(storage, "_checkpoint_offset", size + 1)
        stored[name] = one = Stored(tuple(tensor.shape), tensor.dtype, tensor.stride(), place + begin)
        if begin + one.extent_bytes > storage.nbytes() or one.start + one.extent_bytes > size:
            wrong.append(f"{name} lies outside of the file")
        elif one.num_bytes > size:  # a few bytes, repeated
            wrong.append(f"{name} is {one.shape}, which is more than the file has")
    if wrong:
        raise ValueError(summary(wrong))
    return stored
