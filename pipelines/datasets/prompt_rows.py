"""Rows of prompt files -> PromptSpecs. An invalid row gives a reason and does not end the job.

Columns: prompt, and optionally id, negative_prompt, num_frames, seed, and either image or video.
A name with a dot, such as `refiner.strength`, is a setting for this video alone. Other columns are not used, and said
to be, unless they look like a typing error.
A prompt that changes along the way is a list of {from_frame, prompt}, or such a list as JSON where a file holds texts.
Null, NaN and blank texts stand for an absent value, in lists too.

A row without an id gets one derived from its contents, not from its line or from the settings of the job. So rows keep
their ids when others are added, removed or sorted.
"""

import json
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any
from unicodedata import category

from longtake.models.domain.checks import exact
from longtake.models.domain.prompt import Cue, PromptSpec, Settings, read_prompt, read_prompt_text
from longtake.pipelines.config.conf import settings_from_columns
from longtake.pipelines.datasets.pictures import url_of
from longtake.pipelines.datasets.prompt_files import PromptFile, find_files, read_file
from longtake.pipelines.datasets.tables import is_blank, shown_names, whole

COLUMNS = ("prompt", "id", "negative_prompt", "num_frames", "seed", "image", "video")

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


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row of a job: its fields as far as they can be read, and the reason if it cannot be a request as it is."""

    source: str  # prompts.jsonl:12, from 1: the line, in parquet the row
    fields: dict[str, Any] | None
    reason: str | None
    unused: tuple[str, ...] = ()  # columns that mean nothing here, by their names
    file: str = field(default="", compare=False)  # the URL of its file

    @property
    def image(self) -> str | None:
        """The place of the picture that its video begins with. Raises ValueError for what is no path."""
        return self._url("image")

    @property
    def video(self) -> str | None:
        """The place of the video that its video continues. Raises ValueError as `image`, and for a row with both."""
        image, video = self.image, self._url("video")
        if image is not None and video is not None:
            names = (f"{name}={reprlib.repr((self.fields or {})[name])}" for name in ("image", "video"))
            raise ValueError(f"{' and '.join(names)}: a row begins with a picture or continues a video, not both")
        return video

    def _url(self, column: str) -> str | None:
        name = (self.fields or {}).get(column)
        return None if is_blank(name) else url_of(column, name, self.file)


@dataclass(frozen=True, slots=True)
class RowDefaults:
    """Values for columns that a row leaves out. The seed is that of the job: see `to_request`."""

    num_frames: int
    negative_prompt: str
    seed: int


def read_rows(prompts: str) -> Iterator[PromptRow]:
    """The rows of a file, a folder or a glob on any fsspec path, file by file, in order, read as they are taken.

    Raises ValueError naming `prompts`: before the first row for no file, a file of another kind or without a column
    prompt; later for a file that is no text or cannot be read to its end.
    """
    return _rows_of(prompts, find_files(prompts))


def digest_id(row: PromptRow) -> str:
    """An id for an invalid row that has none of its own: from its file and contents, or from its place."""
    return row.source if row.fields is None else _default_id(row.source, row.fields)


def own_id(row: PromptRow) -> str | None:
    """The id that a row names itself, or None. Raises ValueError for an invalid one."""
    value = (row.fields or {}).get("id")
    return None if is_blank(value) else _id(value)


def to_request(
    row: PromptRow,
    defaults: RowDefaults,
    check_settings: Callable[[Settings], object],
    unique: Callable[[str], str] = str,
) -> PromptSpec:
    """The spec of a row's video. `check_settings` raises ValueError for invalid settings.

    A row without an id is named `unique(FILE-DIGEST)`, by its file and a digest of what it says; one without a seed
    gets a seed from the job's seed and its id. Raises ValueError with the reason for an invalid row.
    """
    if row.fields is None or row.reason is not None:
        raise ValueError(row.reason)
    _check_names(row.fields)
    fields = {name: value for name, value in row.fields.items() if not is_blank(value)}
    settings = settings_from_columns({name: value for name, value in fields.items() if "." in name})
    if settings:
        check_settings(settings)
    prompt, cues = _prompts(fields.get("prompt", ""))
    negative_prompt = _plain("negative_prompt", fields["negative_prompt"]) if "negative_prompt" in fields else None
    num_frames, seed = whole(fields, "num_frames"), whole(fields, "seed")
    if "id" in fields:
        video_id = _id(fields["id"])
    else:
        texts = [prompt, [astuple(cue) for cue in cues], negative_prompt]
        said: list[object] = [*texts, num_frames, seed, sorted(settings)]
        said += [[name, fields[name]] for name in ("image", "video") if name in fields]
        video_id = unique(_default_id(row.source, said))
    return PromptSpec(
        video_id,
        prompt,
        defaults.negative_prompt if negative_prompt is None else negative_prompt,
        defaults.num_frames if num_frames is None else num_frames,
        _seed(defaults.seed, video_id) if seed is None else seed,
        settings,
        cues,
    )


def _rows_of(prompts: str, files: list[PromptFile]) -> Iterator[PromptRow]:
    for file in files:
        try:
            for (number, fields, reason), others in read_file(file, _is_kept):
                names = fields or {}
                twice = [name for name in names if _suggest(name) in names]  # Seed beside seed
                yield PromptRow(f"{file.name}:{number}", fields, reason, shown_names([*others, *twice]), file.url)
        except ValueError as error:
            raise ValueError(f"prompts={prompts}: {error}") from error


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


def _cleaned(value: Any) -> Any:
    """Lists and mappings without blank values: tables fill the fields that an entry lacks."""
    if isinstance(value, list):
        entries = [_cleaned(entry) for entry in value]
        return [entry for entry in entries if not is_blank(entry) and entry != {}]
    if isinstance(value, dict):
        return {name: exact(entry) for name, entry in value.items() if not is_blank(entry)}
    return value


def _id(value: Any) -> str:
    value = exact(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"id={reprlib.repr(value)}: must be a string or a whole number")
    if any(category(letter) in ("Cc", "Cs") for letter in str(value)):
        raise ValueError(f"id={value!r}: must have no line break, NUL or other control character")
    return str(value)


def _default_id(source: str, said: object) -> str:
    digest = sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
    return f"{PromptFile('', source.rpartition(':')[0]).stem}-{digest}"


def _prompts(value: Any) -> tuple[str, tuple[Cue, ...]]:
    """The prompt and the cues of a row."""
    if isinstance(value, str):
        text, value = value, read_prompt_text(value)
        if value is text and re.match(r"\s*\[\s*\{\s*['\"](from_frame|prompt)\b", text):
            raise ValueError(f"prompt={reprlib.repr(text)}: a list must be JSON, with double quotes")
    prompt, cues = read_prompt(_cleaned(value))
    for i, cue in enumerate(cues, 1):
        _plain(f"prompt[{i}].prompt", cue.prompt)
    return _plain("prompt", prompt), cues


def _plain(name: str, text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"{name}={reprlib.repr(text)}: must be a string")
    if "\0" in text:
        raise ValueError(f"{name}={reprlib.repr(text)}: must have no NUL character")
    return text


def _seed(job_seed: int, video_id: str) -> int:
    return int.from_bytes(blake2b(f"{job_seed}/{video_id}".encode()).digest()[:8], "big") % 2**63
