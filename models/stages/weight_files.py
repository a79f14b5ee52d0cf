"""The weight files of a part: which of them are read, and what their headers say. No torch.

    diffusion_pytorch_model.safetensors                              or model.safetensors, pytorch_model.bin
    diffusion_pytorch_model.fp16.safetensors                         another precision alone
    diffusion_pytorch_model.safetensors.index.json, *-00001-of-*     in pieces

Of several sets one is read: whole precision before half, safetensors before pickle. Pickle only where it is asked for.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from filecmp import cmp
from math import prod
from pathlib import Path
from typing import Any

from longtake.models.stages.files import Part, read_json

WITHOUT_WEIGHTS = ("scheduler", "tokenizer")  # kinds of parts
STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
MAX_HEADER = 100 << 20  # bytes, as the safetensors library has it


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """The entry of a tensor in the header of a safetensors file."""

    dtype: str  # as safetensors writes it: F32, F16, BF16
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.shape)


def choose(names: Collection[str], allow_pickle: bool = False) -> str | None:
    """Of the names in a part's folder, the file to read or the index of its pieces; None if there is none.

    It also chooses what is fetched, before any file is here.
    """
    for suffix in ("safetensors", *(["bin"] if allow_pickle else [])):
        ranked = sorted((rank, name) for name in names if (rank := _rank(name, suffix)) is not None)
        if ranked:
            return ranked[0][1]
    return None


def _rank(name: str, suffix: str) -> tuple[int, int, int] | None:
    """A place in the order of choice; None for a file that is none of a part's."""
    found = re.fullmatch(rf"(\w+?)(\.[\w-]+)?\.{suffix}(\.index(\.[\w-]+)?\.json)?", name)
    if found is None or found[1] not in STEMS or re.search(r"-\d+-of-\d+$", found[2] or ""):
        return None
    variant = (found[2] or found[4] or "")[1:]
    order = ("", "fp16", "bf16")
    return order.index(variant) if variant in order else len(order), found[3] is not None, STEMS.index(found[1])


def weight_files(folder: Path, allow_pickle: bool = False) -> list[Path]:
    """The files to read, in order. Raises ValueError if there are none, or if a piece is missing."""
    names = [path.name for path in folder.glob("*") if path.is_file()] if folder.is_dir() else []
    chosen = choose(names, allow_pickle)
    if chosen is None:
        if choose(names, True):
            how = "these are pickles, which can hold code. --allow-pickle (allow_pickle=true) reads their tensors alone"
            raise ValueError(f"bundle part {folder} has no .safetensors file, only .bin files: {how}")
        raise ValueError(f"bundle part {folder} has no .safetensors file; other formats are not opened")
    if not chosen.endswith(".json"):
        return [folder / chosen]
    pieces = pieces_of(folder / chosen)
    missing = [name for name in pieces if name not in names]
    if missing:
        raise ValueError(f"bundle part {folder}: {missing[0]} is missing, a piece that {chosen} names")
    return [folder / name for name in pieces]


def pieces_of(index: Path) -> list[str]:
    """The files that an index of pieces names, in order. Raises ValueError for an index that is none."""
    places = read_json(index, f"bundle part {index.parent} cannot be read").get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"bundle part {index.parent}: {index.name} has no weight_map")
    names = sorted({str(name) for name in places.values()})
    kind = ".safetensors" if ".safetensors" in index.name else ".bin"
    outside = [name for name in names if Path(name).name != name or not name.endswith(kind)]
    if outside:
        raise ValueError(f"bundle part {index.parent}: {index.name} names {outside[0]!r}, which is no {kind} beside it")
    return names


def read_header(file: Path) -> dict[str, TensorHeader]:
    """The tensors of a safetensors file by name. Raises ValueError for a file that is cut off, or is none."""
    problem = f"bundle part {file} cannot be read"
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length.to_bytes(8, "little") == b"version ":
                raise ValueError(f"{problem}: it is a pointer of git-lfs, without the weights: run `git lfs pull`")
            if size < 8 or not 2 <= length <= MAX_HEADER:
                raise ValueError(f"{problem}: it has {size} bytes and is not in the safetensors format")
            if 8 + length > size:
                raise ValueError(f"{problem}: it is cut off after {size} bytes, its header alone has {8 + length}")
            raw = opened.read(length)
    except OSError as error:
        raise ValueError(f"{problem}: {error.strerror}") from None
    try:
        entries = {name: entry for name, entry in json.loads(raw).items() if name != "__metadata__"}
        headers = {name: TensorHeader(str(e["dtype"]), tuple(map(int, e["shape"]))) for name, e in entries.items()}
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise ValueError(f"{problem}: its header is not in the safetensors format") from None
    if size != end:
        raise ValueError(f"{problem}: it has {size} bytes, its header says {end}")
    return headers


def read_headers(folder: Path, allow_pickle: bool = False) -> dict[str, TensorHeader]:
    """The tensors of all files of a part. Raises ValueError as `weight_files` and `read_header`.

    Of a pickle nothing can be said without opening it: none of its tensors is here.
    """
    tensors: dict[str, TensorHeader] = {}
    for file in weight_files(folder, allow_pickle):
        if file.suffix == ".safetensors":
            tensors |= read_header(file)
    return tensors


def num_parameters(tensors: Mapping[str, TensorHeader]) -> int:
    """Number of values of all tensors."""
    return sum(tensor.count for tensor in tensors.values())


def is_same_network(one: Part, other: Part, allow_pickle: bool = False) -> bool:
    """Whether two parts are networks of one class with equal configs and equal bytes in their weight files.

    The bytes are compared, unless two names lead to one file: a size or a date would only make it likely.
    """
    if one.kind != other.kind or one.class_name != other.class_name or one.kind in WITHOUT_WEIGHTS:
        return False
    if _lasting(one.config()) != _lasting(other.config()):
        return False
    files = [weight_files(part.folder, allow_pickle) for part in (one, other)]
    return len(files[0]) == len(files[1]) and all(map(_is_same_file, *files))


def _lasting(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without notes on where and by which version it was written."""
    return {key: value for key, value in config.items() if key[0] != "_" and key != "transformers_version"}


def _is_same_file(one: Path, other: Path) -> bool:
    return one.samefile(other) or cmp(one, other, shallow=False)
