"""The library of takes: every video requested from the endpoint, in memory and in a store.

1. A take exists from the moment its record, `take.json`, is written until the record is removed. Files without a record
   are the rest of an interrupted removal.
2. Records are written and removed one after the other, so that a late write does not bring back a removed take.
3. Any thread may read; the values it gets are immutable.
"""

import json
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Any, Literal

from longtake.models.domain.checks import FieldError
from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec, Settings
from longtake.models.domain.scheduler import Coupling
from longtake.models.video.fit import Fit
from longtake.pipelines.config.loader import from_plain
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.library.paths import RECORD, TAKES, folder, is_id, path_of

logger = logging.getLogger(__name__)


# Fields of a request, and of its take, that are settings of its video: their keys in the configuration.
SETTING_KEYS = {
    "num_inference_steps": "base.num_inference_steps",
    "guidance_scale": "base.guidance_scale",
    "fps": "video.fps",
    "width": "refiner.width",
    "height": "refiner.height",
    "coupling": "refiner.coupling",
    "fit": "refiner.fit",
    "base_width": "base.width",
    "base_height": "base.height",
}

REQUEST_FIELDS = (
    *("owner", "model", "prompt", "cues", "negative_prompt", "num_frames", "seed", "plan", "input"),
    *SETTING_KEYS,
)


Place = tuple[int, str]  # in the order of creation
MAX_GONE = 10_000


class NoSuchTake(LookupError):
    """No take has this id."""


class Status(StrEnum):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"  # or cancelled: see the error


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One requested video: request, owner and progress. Times are Unix seconds."""

    id: str
    owner: str = ""  # of the API key; "" without keys
    model: str = ""
    prompt: str
    cues: tuple[Cue, ...] = ()
    negative_prompt: str = ""
    num_frames: int
    seed: int
    fps: int
    plan: PlanParams = field(default_factory=PlanParams)  # before the start, the one it would have
    width: int
    height: int
    coupling: Coupling
    num_inference_steps: int | None = None  # of the base model; None: the endpoint's
    guidance_scale: float | None = None  # of the base model; None: the endpoint's
    fit: Fit | None = None  # of the base model's frames into width x height; None: the endpoint's
    base_width: int | None = None  # pixels; None: the endpoint's
    base_height: int | None = None
    input: InputFile | None = None  # that a client sent: it begins with this picture, or continues this video
    status: Status = Status.QUEUED
    created_at: int
    started_at: int | None = None
    completed_at: int | None = None  # or failed
    expires_at: int | None = None
    error: tuple[str, str] | None = None  # code, message
    remixed_from: str | None = None  # id
    extends: str | None = None  # id
    size_bytes: int = 0  # of all its files
    transient: bool = False  # it belongs to one connection and ends with it
    progress: int = 0  # percent; 100 when it is completed, not before
    fragments: tuple[int, ...] = ()  # bytes of each, from the first one on
    made_with: str = ""  # see `resume_plan.made_with`
    ordinal: int = 0  # in the order of creation

    def __post_init__(self) -> None:
        folder(self.id)  # raises for an invalid id

    @property
    def is_active(self) -> bool:
        """Whether it is waiting or in progress."""
        return self.status in (Status.QUEUED, Status.IN_PROGRESS)

    @property
    def settings(self) -> Settings:
        """The settings of its video."""
        values = {key: getattr(self, name) for name, key in SETTING_KEYS.items()}
        plain = {key: value.value if isinstance(value, Enum) else value for key, value in values.items()}
        return tuple((key, value) for key, value in plain.items() if value is not None)

    @property
    def extension(self) -> Extension | None:
        """The continuation of the video that a client sent."""
        if self.input is None or self.input.kind is not InputKind.VIDEO:
            return None
        return Extension(self.input.num_frames, self.num_frames - self.input.num_frames, self.plan)

    @property
    def rate(self) -> Fraction:
        """Frames per second: those of a video that a client sent may be a fraction."""
        return (self.input and self.input.rate) or Fraction(self.fps)

    @property
    def has_picture(self) -> bool:
        """Whether it begins with a picture."""
        return self.input is not None and self.input.kind is InputKind.IMAGE

    @property
    def shift(self) -> int:
        """The number of its first frame in its plan; not 0 for the continuation of some videos."""
        return 0 if self.extension is None else self.extension.shift

    @property
    def spec(self) -> PromptSpec:
        """Its frames are those of its plan. Raises ValueError for an impossible video."""
        cues = tuple(replace(cue, from_frame=cue.from_frame + self.shift) for cue in self.cues)
        num_frames = self.num_frames + self.shift
        return PromptSpec(self.id, self.prompt, self.negative_prompt, num_frames, self.seed, self.settings, cues=cues)


def new_id() -> str:
    """A random id of 128 bits: it cannot be guessed."""
    return f"video_{secrets.token_hex(16)}"


def derived(source: Take, now: int, **changes: Any) -> Take:
    """A queued take with the request of `source`, except for `changes`. It needs a copy of the input of `source`."""
    request = {name: getattr(source, name) for name in REQUEST_FIELDS}
    if source.input is not None:
        request["size_bytes"] = source.input.num_bytes
    return Take(id=new_id(), created_at=now, **(request | changes))


def extended(source: Take, prompt: str, num_frames_more: int, now: int) -> Take:
    """A take that begins as `source` and continues for `num_frames_more` frames with `prompt`.

    Raises ValueError for an impossible video.
    """
    if num_frames_more < 1:
        raise FieldError.of("num_frames", num_frames_more, "must be at least 1")
    cues = (*source.cues, Cue(source.num_frames, prompt))
    take = derived(source, now, cues=cues, num_frames=source.num_frames + num_frames_more, extends=source.id)
    assert take.spec, "a PromptSpec checks itself"
    return take


def with_prompts(take: Take, spec: PromptSpec) -> Take:
    """`take` with the prompt and the cues of `spec`, which is one of its own."""
    cues = tuple(replace(cue, from_frame=cue.from_frame - take.shift) for cue in spec.cues)
    return replace(take, prompt=spec.prompt, cues=cues)


def write_take(take: Take) -> bytes:
    """The record of a take, as JSON."""
    return json.dumps(asdict(take), indent=1).encode()


def read_take(data: bytes) -> Take:
    """Inverse of `write_take`; unknown fields are ignored. Raises ValueError for anything else."""
    try:
        values = json.loads(data)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    known = {field.name for field in fields(Take)}
    return from_plain(Take, {name: value for name, value in values.items() if name in known})


class Takes:
    """All takes of one store, the latest last."""

    def __init__(self, store: Store) -> None:
        """Empty until `load`."""
        self.store = store
        self._takes: dict[str, Take] = {}
        self._gone: dict[str, tuple[str, Place]] = {}  # owners of the last removed takes: a list can go on after them
        self._write = threading.Lock()

    def load(self) -> list[str]:
        """Reads all records; logs and skips a broken one. Returns ids of folders without a record."""
        paths = self.store.list(TAKES)
        ids = {parts[1] for path in paths if len(parts := path.split("/")) > 2 and is_id(parts[1])}
        recorded = [path for path in paths if path.endswith(f"/{RECORD}") and path.count("/") == 2]
        known = {path.split("/")[1] for path in recorded}
        read = [_read(path, data) for path, data in zip(recorded, self.store.get_each(recorded), strict=True)]
        takes = [take for take in read if take is not None]
        with self._write:
            self._takes = {take.id: take for take in sorted(takes, key=_place)}
        return sorted(ids - known)

    def create(self, take: Take) -> Take:
        """Adds a take as the latest. Raises what the store raises."""
        with self._write:
            assert take.id not in self._takes, "ids are drawn from 2**128"
            last = next(reversed(self._takes.values()), None)
            take = replace(take, ordinal=0 if last is None else last.ordinal + 1)
            self._put(take)
        return take

    def save(self, take: Take) -> None:
        """Writes the record. Raises NoSuchTake if it was removed, and what the store raises."""
        with self._write:
            self._check(take.id)
            self._put(take)

    def note(self, take: Take) -> None:
        """As `save`, in memory only. Raises NoSuchTake."""
        with self._write:
            self._check(take.id)
            self._takes[take.id] = take

    def forget(self, take_id: str) -> None:
        """Removes the record, and with it the take; its files stay. Raises NoSuchTake, and what the store raises."""
        with self._write:
            self._check(take_id)
            self.store.delete(path_of(take_id, RECORD))
            take = self._takes.pop(take_id)
            self._gone[take_id] = take.owner, _place(take)
            while len(self._gone) > MAX_GONE:
                del self._gone[next(iter(self._gone))]

    def get(self, take_id: str) -> Take:
        """Raises NoSuchTake, also for an invalid id."""
        self._check(take_id)
        return self._takes[take_id]

    def all(self) -> Sequence[Take]:
        """In the order of creation."""
        return list(self._takes.values())

    def list(
        self, owner: str | None, after: str | None = None, limit: int = 20, order: Literal["asc", "desc"] = "desc"
    ) -> tuple[Sequence[Take], bool]:
        """(a page of the takes of `owner`, or of all; whether there are more).

        `after` may have been removed meanwhile. Raises NoSuchTake if it is unknown.
        """
        takes = [take for take in self.all() if owner is None or take.owner == owner]
        if order == "desc":
            takes.reverse()
        if after is not None:
            known = self._takes.get(after)
            last = self._gone.get(after) if known is None else (known.owner, _place(known))
            if last is None or owner not in (None, last[0]):
                raise NoSuchTake(after)
            takes = [take for take in takes if (_place(take) > last[1] if order == "asc" else _place(take) < last[1])]
        return takes[:limit], len(takes) > limit

    def expired(self, now: float, max_disk_bytes: int) -> Sequence[str]:
        """Ids of takes to remove: expired ones, then, until the rest fits, the oldest of the owner with the most bytes.

        Active takes stay.
        """
        ended = [take for take in self.all() if not take.is_active]
        gone = {take.id for take in ended if take.expires_at is not None and take.expires_at <= now}
        sizes = Counter[str]()
        for take in self.all():
            sizes[take.owner] += 0 if take.id in gone else take.size_bytes
        oldest_last = sorted(ended, key=lambda take: (take.completed_at or 0, take.ordinal), reverse=True)
        left: dict[str, list[Take]] = {}
        for take in oldest_last:
            if take.id not in gone:
                left.setdefault(take.owner, []).append(take)
        while left and sizes.total() > max_disk_bytes:
            owner = max(left, key=lambda owner: sizes[owner])
            take = left[owner].pop()
            gone.add(take.id)
            sizes[owner] -= take.size_bytes
            if not left[owner]:
                del left[owner]
        return sorted(gone)

    def _check(self, take_id: str) -> None:
        if take_id not in self._takes:
            raise NoSuchTake(take_id)

    def _put(self, take: Take) -> None:
        self.store.put(path_of(take.id, RECORD), write_take(take))
        self._takes[take.id] = take


def _place(take: Take) -> Place:
    return take.ordinal, take.id


def _read(path: str, data: bytes | None) -> Take | None:
    if data is None:  # it was removed meanwhile
        return None
    try:
        take = read_take(data)
        if take.id != path.split("/")[1]:
            raise ValueError(f"id={take.id} belongs to another folder")
    except ValueError as error:
        logger.warning("record unreadable path=%s reason=%s", path, error)
        return None
    return take
