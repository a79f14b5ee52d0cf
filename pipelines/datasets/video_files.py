"""The files of a place that are tried as videos.

A file that is named is always tried. In a folder or glob these are skipped: hidden files, files with the ending of
another kind (OTHERS) and, where the ending says nothing (`.ogg`, `.gif`, `.ts`, none), files that begin like text,
sound or a still picture.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.utils import glob_translate

from longtake.pipelines.datasets.places import Place
from longtake.pipelines.files.store import NUM_REQUESTS

CONTROLS = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # which text does not have
HEAD = 4096  # bytes that tell text and still pictures from videos


def _endings(words: str) -> frozenset[str]:
    return frozenset(f".{word}" for word in words.split())


# Tried without looking at their bytes, which would cost a request each in an object store.
VIDEOS = _endings(
    "mp4 m4v mov qt mkv mk3d webm avi divx wmv asf flv f4v mpg mpeg mpe m1v m2v mpv mp2v vob m2ts m2t mxf 3gp 3g2 ogv "
    "ogm rm rmvb dv nut y4m wtv mjpg mjpeg ivf h264 264 h265 265 hevc apng"
)
OTHERS = _endings(
    "txt md rst srt vtt ass ssa sub sup idx lrc nfo log info description url webloc "  # words
    "json jsonl ndjson csv tsv parquet arrow feather xml yaml yml toml ini cfg conf html htm css "  # tables, settings
    "jpg jpeg jpe png bmp tif tiff heic heif svg psd ico raw dng cr2 nef exr hdr thm "  # still pictures
    "mp3 wav flac m4a m4b aac opus wma aif aiff ac3 mka mid amr "  # sound
    "pdf doc docx xls xlsx ppt pptx odt rtf eps zip tar gz tgz bz2 xz zst 7z rar iso "  # documents, archives
    "py ipynb js sh bat c h cpp java go rs exe dll so pyc o "  # programs
    "pt pth ckpt safetensors bin npy npz pkl h5 hdf5 onnx db sqlite lock md5 sha256 torrent lnk"  # data
)


@dataclass(frozen=True, slots=True)
class Found:
    """The files of a place: paths relative to `base`, with what is known of each, and a line on what is skipped."""

    base: Place
    files: Mapping[str, Mapping[str, Any]]
    passed_over: str | None


def find_videos(place: Place) -> Found:
    """The files to be tried. Raises FileNotFoundError where there is nothing."""
    fs, path = place.fs, place.path
    if fs.isfile(path):
        return Found(place.at(path.rpartition("/")[0]), {path.rpartition("/")[2]: fs.info(path)}, None)
    base, pattern = (path, "**") if fs.isdir(path) else _split(fs, path)
    if not pattern:
        there = bool(path) and fs.exists(path)
        raise FileNotFoundError("it is a pipe or a device, not a file" if there else "no such file or folder")
    rule = re.compile(glob_translate(pattern))
    found = fs.find(base, maxdepth=None if "**" in pattern else pattern.count("/") + 1, detail=True)
    names = {file.removeprefix(f"{base}/" if base else ""): info for file, info in sorted(found.items())}
    files = {name: info for name, info in names.items() if rule.match(name)}
    others = {
        name for name, info in files.items() if info["type"] == "other" and _is_no_file(place.at(base), name, info)
    }
    kinds = _kinds(place.at(base), [name for name in files if name not in others]) | dict.fromkeys(others, "no file")
    tried = {name: info for name, info in files.items() if kinds[name] is None}
    return Found(place.at(base), tried, _line(kinds.values()))


def _is_no_file(base: Place, name: str, info: Mapping[str, Any]) -> bool:
    """Whether it is a pipe, a device, or a link to a folder. A broken link counts as a missing file."""
    return not info.get("islink") or base.fs.isdir(f"{base.path}/{name}")


def _split(fs: AbstractFileSystem, path: str) -> tuple[str, str]:
    """The folder, which exists as written, and the pattern after it; brackets may be part of the folder's name."""
    base, *parts = re.split(r"(?<=.)/", path)
    if has_magic(base):  # the root of an archive
        return "", path
    while parts and (not has_magic(parts[0]) or fs.isdir(f"{base}/{parts[0]}")):
        base = f"{base}/{parts.pop(0)}"
    return base, "/".join(parts)


def _kinds(base: Place, names: Sequence[str]) -> dict[str, str | None]:
    """For each file the kind for which it is skipped, or None if it is tried."""
    kinds = {name: _kind_by_name(name) for name in names}
    unknown = [name for name, kind in kinds.items() if kind == ""]
    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        kinds |= zip(unknown, pool.map(lambda name: _kind_by_bytes(base, name), unknown), strict=True)
    return kinds


def _kind_by_name(name: str) -> str | None:
    """As `_kinds`; "" where the name does not say."""
    ending = PurePosixPath(name).suffix.lower()
    if any(part.startswith(".") for part in name.split("/")):
        return "hidden"
    return ending if ending in OTHERS else None if ending in VIDEOS else ""


def _kind_by_bytes(base: Place, name: str) -> str | None:
    try:
        head: bytes = base.patiently(lambda: base.fs.cat_file(f"{base.path}/{name}", 0, HEAD))
    except Exception:  # it cannot be read: its row will say so
        return None
    return kind_of(head, PurePosixPath(name).suffix.lower())


def kind_of(head: bytes, ending: str) -> str | None:
    """The kind of file that begins with these bytes and is no video: text, sound, a still picture; else None."""
    if head.startswith(b"OggS"):
        return None if b"theora" in head or b"BBCD" in head or b"VP80" in head else ending
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return None if head[12:16] == b"VP8X" and any(byte & 2 for byte in head[20:21]) else "still " + ending
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"heic", b"mif1"):
        return "still " + ending
    return (ending or "text") if not head or _is_text(head) else None


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.end < len(head) - 3:  # not a letter that is cut at the end
            return False
        text = head[: error.start].decode()
    return not CONTROLS.search(text)


def _line(kinds: Iterable[str | None]) -> str | None:
    counts = Counter(kind for kind in kinds if kind)
    if not counts:
        return None
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    total = sum(counts.values())
    return f"{total} {'file' if total == 1 else 'files'} skipped, not videos by name or content: {listed}"
