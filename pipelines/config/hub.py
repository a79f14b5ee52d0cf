"""Models by their names on a hub, such as `damo-vilab/text-to-video-ms-1.7b` or `owner/name@revision`.

What the local cache of huggingface_hub holds is used as it is, without asking anybody. Of the rest, the files that a
pipeline needs are fetched: configs, tokenizers and one set of weights of each part. No other code touches the network.
"""

import errno
import json
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from longtake.models.stages.files import read_json
from longtake.models.stages.weight_files import choose, weight_files
from longtake.pipelines.terminal.progress import StatusLine, doing, duration

logger = logging.getLogger(__name__)
HUB_ID = re.compile(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+(@[\w./-]+)?")
INDEX = "model_index.json"
ROOT_FILES = (INDEX, "bundle.json")
TEXTS = (".json", ".txt", ".model")  # configs and tokenizers
NESTED = ("refiner", "opener")  # parts that may be small bundles
UNUSED = ("safety_checker",)
WITHOUT_WEIGHTS = re.compile(r"Scheduler|Tokenizer|Tokenizers|Processor|Extractor")


def is_hub_id(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None


def hub_folder(field: str, name: str, allow_pickle: bool = False) -> Path:
    """The folder of a pipeline on the hub: of the cache, or fetched now.

    Raises ValueError, in one line that names `field`, if it can be had from neither.
    """
    repo, _, revision = name.partition("@")
    cached, lacks = _cached(repo, revision or None)
    if cached is not None and lacks is None:
        return cached
    known = "is not in the cache" if cached is None else f"is not complete in the cache ({lacks})"
    try:
        return _fetch(field, name, repo, revision or None, allow_pickle)
    except Exception as error:  # of the hub's library, its HTTP client and the network: each has its own
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise ValueError(f"{field}={name}: there is no such folder, as a hub id it {known}, {_why(error)}") from None


def _cached(repo: str, revision: str | None) -> tuple[Path | None, str | None]:
    """The snapshot in the cache, and what it lacks."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, INDEX, revision=revision)
    if not isinstance(found, str):
        return None, None
    folder = Path(found).parent
    return folder, next(_lacks(folder), None)


def _lacks(folder: Path) -> Iterator[str]:
    """The parts that a folder has not, or not completely."""
    for name, class_name in _parts(read_json(folder / INDEX, f"{folder} cannot be read")).items():
        part = folder / name
        if name in NESTED and (part / INDEX).exists():
            yield from (f"{name}/{lacking}" for lacking in _lacks(part))
        elif not part.is_dir():
            yield f"{name} is missing"
        elif not WITHOUT_WEIGHTS.search(class_name):
            try:
                weight_files(part, allow_pickle=True)  # only fetched where there is nothing else
            except ValueError:
                yield f"the weights of {name} are missing"


def _parts(index: Mapping[str, Any]) -> dict[str, str]:
    """The parts that an index names, and their classes."""
    entries = {name: entry for name, entry in index.items() if isinstance(entry, list) and not name.startswith("_")}
    return {name: str(entry[-1]) for name, entry in entries.items() if entry[-1] is not None and name not in UNUSED}


def needed(names: Collection[str], index: Mapping[str, Any], allow_pickle: bool = False) -> list[str]:
    """Of the files in a repository those that its pipeline needs: no second precision, no second format.

    Raises ValueError if the weights of a part are pickles and these are not allowed.
    """
    folders = {*_parts(index), *(name for name in NESTED if any(one.startswith(f"{name}/") for one in names))}
    chosen = [name for name in names if name in ROOT_FILES]
    for folder in sorted({os.path.dirname(name) for name in names}):
        if folder.split("/")[0] not in folders:
            continue
        inside = {os.path.basename(name) for name in names if os.path.dirname(name) == folder}
        own = [name for name in inside if name.endswith(TEXTS) and ".index." not in name]
        weights = choose(inside, allow_pickle)
        if weights is None and choose(inside, True):
            raise ValueError(
                f"its {folder} has no .safetensors file, only .bin files: these are pickles, which can hold code. "
                "--allow-pickle (allow_pickle=true) fetches them and reads their tensors alone"
            )
        own += [] if weights is None else [weights, *(name for name in inside if _is_piece(name, weights))]
        chosen += [f"{folder}/{name}" for name in sorted(own)]
    return chosen


def _is_piece(name: str, index: str) -> bool:
    """Whether a file is one of the pieces of an index, by its name."""
    words = re.fullmatch(r"(\w+)(\.[\w-]+)?\.(safetensors|bin)\.index(\.[\w-]+)?\.json", index)
    if words is None:
        return False
    stem, variant, suffix = words[1], words[2] or words[4] or "", words[3]
    return re.fullmatch(rf"{stem}{re.escape(variant)}-\d+-of-\d+(\.\w+)?\.{suffix}", name) is not None or (
        bool(variant) and re.fullmatch(rf"{stem}-\d+-of-\d+{re.escape(variant)}\.{suffix}", name) is not None
    )


def _fetch(field: str, name: str, repo: str, revision: str | None, allow_pickle: bool) -> Path:
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # ours is one line
    siblings = HfApi().model_info(repo, revision=revision, files_metadata=True).siblings or []
    sizes = {file.rfilename: file.size or 0 for file in siblings}
    if INDEX not in sizes:
        raise ValueError(f"and on the hub it has no {INDEX}: it is no pipeline of diffusers")
    with open(hf_hub_download(repo, INDEX, revision=revision), encoding="utf-8") as file:
        files = needed(sizes, json.load(file), allow_pickle)
    total = sum(sizes[file] for file in files)
    logger.warning("%s=%s: fetching %d files, %s, from %s", field, name, len(files), _size(total), constants.ENDPOINT)
    blobs = Path(constants.HF_HUB_CACHE, f"models--{repo.replace('/', '--')}", "blobs")
    before = _bytes_in(blobs)

    def status(seconds: float) -> StatusLine:
        done = min(_bytes_in(blobs) - before, total)
        left = f", {duration(seconds * (total - done) / done)} left" if done else ""
        return StatusLine(f"fetching {name}, {_size(done)} of {_size(total)}{left}", done / total if total else None)

    with doing(status):
        return Path(
            snapshot_download(repo, revision=revision, allow_patterns=[re.sub(r"([\[*?])", r"[\1]", f) for f in files])
        )


def _bytes_in(folder: Path) -> int:
    """Bytes on disk, those of files in the making included."""
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # renamed when it was complete
            continue
    return total


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _why(error: Exception) -> str:
    """The failure of the hub in a few words."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    if isinstance(error, ValueError) and not isinstance(error, HfHubHTTPError):
        return str(error)
    if isinstance(error, OfflineModeIsEnabled):
        return "and this machine is told to stay offline (HF_HUB_OFFLINE)"
    if isinstance(error, GatedRepoError):
        return f"and {hub} gives it only to accounts that accepted its licence: do so there, then set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"and {hub} has no such revision of it"
    if isinstance(error, RepositoryNotFoundError):
        return f"and {hub} has no such model, or not for this account (HF_TOKEN)"
    said = " ".join(str(error).split())[:160]
    return f"and {hub} cannot be reached or does not answer ({type(error).__name__}: {said})"
