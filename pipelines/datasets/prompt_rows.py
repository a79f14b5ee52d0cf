"""Rows of prompt files -> PromptSpecs. An invalid row gives a reason and does not end the job.

Columns: prompt, and optionally id, negative_prompt, num_frames and seed. A name with a dot, such as `refiner.strength`,
is a setting for this video alone. Other columns are ignored, unless they look like a typing error.
A prompt that changes along the way is a list of {from_frame, prompt}, or such a list as JSON where a file holds texts.
"""

import json
import logging
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from unicodedata import category

from longtake.models.domain.prompt import Cue, PromptSpec, Settings, read_prompt, read_prompt_text
from longtake.pipelines.config.conf import settings_from_columns
from longtake.pipelines.datasets.prompt_files import PromptFile, find_files, read_file

COLUMNS = ("prompt", "id", "negative_prompt", "num_frames", "seed")

# Other names for the columns, and names too short to be guessed by similarity ("speed" is like "seed").
MEANT = {
    "frames": "num_frames",
    "nframes": "num_frames",
    "framecount": "num_frames",
    "negative": "negative_prompt",
    "negprompt": "negative_prompt",
    "id": "id",
    "seed": "seed",
}
GUESSED = {"prompt": "prompt", "negativeprompt": "negative_prompt", "numframes": "num_frames"}

# Rows that Ray Data has read and that are not taken yet, at most.
BUFFER_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row of a job: its fields, or the reason for their absence."""

    source: str  # prompts.jsonl:12, from 1: the line, in parquet the row
    ordinal: int  # among the rows of all files, from 0
    fields: dict[str, Any] | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class RowDefaults:
    """RowDefaults for columns that a row leaves out. The seed is that of the job: see `to_request`."""

    num_frames: int
    negative_prompt: str
    seed: int


def read_rows(prompts: str) -> Iterator[PromptRow]:
    """The rows of a file, a folder or a glob on any fsspec path, file by file, in order, read as they are taken.

    Raises ValueError naming `prompts` before the first row: no file, a file of another kind, no column prompt.
    """
    return _stream(find_files(prompts))


def to_request(row: PromptRow, defaults: RowDefaults, check_settings: Callable[[Settings], object]) -> PromptSpec:
    """The spec of a row's video. `check_settings` raises ValueError for invalid settings.

    A row without an id is named after its file and line; one without a seed gets a seed from the job's seed and its id.
    So neither depends on the other rows. Raises ValueError with the reason for an invalid row.
    """
    if row.fields is None:
        raise ValueError(row.reason)
    fields = {name: value for name, value in row.fields.items() if not _is_blank(value)}
    _check_names(row.fields)
    video_id = _id(fields["id"]) if "id" in fields else _default_id(row.source)
    settings = settings_from_columns({name: value for name, value in fields.items() if "." in name})
    if settings:
        check_settings(settings)
    prompt, cues = _prompts(fields.get("prompt", ""))
    return PromptSpec(
        video_id,
        prompt,
        _plain("negative_prompt", fields.get("negative_prompt", defaults.negative_prompt)),
        _whole("num_frames", fields.get("num_frames", defaults.num_frames)),
        _whole("seed", fields.get("seed", _seed(defaults.seed, video_id))),
        settings,
        cues,
    )


def _stream(files: list[PromptFile]) -> Iterator[PromptRow]:
    """Reads one file after the other with Ray Data, in another process, up to its buffer ahead."""
    import ray.data  # takes seconds; the rest of this module does not need it

    # Three lines about its execution plan, and a warning that its progress bars are off, are of no use to a user.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = ray.data.from_items([asdict(file) for file in files], override_num_blocks=len(files))
    context = items.context
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=BUFFER_BYTES)
    context.target_max_block_size = BUFFER_BYTES // 64  # the first rows arrive while the file is still being read
    # No CPU: the pools reserve all of them. One file at a time: of two, the second fills the buffer with rows that wait
    # for those of the first, and both stop for seconds.
    rows = items.flat_map(_read, num_cpus=0, compute=ray.data.TaskPoolStrategy(size=1))
    for ordinal, item in enumerate(rows.iter_rows()):
        fields = None if item["fields_json"] is None else json.loads(item["fields_json"])
        yield PromptRow(item["source"], ordinal, fields, item["reason"])


def _read(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    file = PromptFile(**item)
    for number, fields, reason in read_file(file, _is_kept):
        fields_json = None if fields is None else json.dumps(fields)
        yield {"source": f"{file.name}:{number}", "fields_json": fields_json, "reason": reason}


def _is_kept(name: str) -> bool:
    return name in COLUMNS or "." in name or _suggest(name) is not None


@lru_cache(4096)
def _suggest(name: str) -> str | None:
    """The column that `name` misspells: by case or separators, another word for it, or a letter or two."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    plain = "".join(words)
    if name in COLUMNS or "." in name:
        return None
    if plain in MEANT or plain in GUESSED:
        return {**MEANT, **GUESSED}[plain]
    if set(words) & set(COLUMNS) or re.search(r"\d", plain):
        return None  # prompt_en, prompt2: other columns, on purpose
    close = get_close_matches(plain, GUESSED, n=1, cutoff=0.8)
    return GUESSED[close[0]] if close else None


def _check_names(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        suggestion = _suggest(name)
        if suggestion is not None and suggestion not in fields:
            raise ValueError(f"{name}={reprlib.repr(value)}: no such column; did you mean {suggestion}?")


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _id(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)  # a column of numbers in which some are missing
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"id={reprlib.repr(value)}: must be a string or a whole number")
    if any(category(letter) == "Cc" for letter in str(value)):
        raise ValueError(f"id={value!r}: must have no line break, NUL or other control character")
    return str(value)


def _default_id(source: str) -> str:
    name, _, number = source.rpartition(":")
    return f"{PromptFile('', name).stem}-{int(number):06d}"


def _prompts(value: Any) -> tuple[str, tuple[Cue, ...]]:
    """The prompt and the cues of a row."""
    prompt, cues = read_prompt(read_prompt_text(value) if isinstance(value, str) else value)
    for i, cue in enumerate(cues, 1):
        _plain(f"prompt[{i}].prompt", cue.prompt)
    return _plain("prompt", prompt), cues


def _plain(name: str, text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{name}={reprlib.repr(text)}: must be a string")
    if "\0" in text:
        raise ValueError(f"{name}={reprlib.repr(text)}: must have no NUL character")
    return text


def _whole(name: str, value: Any) -> int:
    """A whole number, also as a table may hold it: "80", "80.0", 80.0."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}(\.0*)?", value.strip()):
        return int(value.strip().partition(".")[0])
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:  # above, a float may be another number
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{name}={reprlib.repr(value)}: must be a whole number")


def _seed(job_seed: int, video_id: str) -> int:
    return int.from_bytes(blake2b(f"{job_seed}/{video_id}".encode()).digest()[:8], "big") % 2**63
