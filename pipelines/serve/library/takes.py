"""The library of takes: every video that was asked of the endpoint, in memory and in a store.

1. A take is there from the moment at which its record, `take.json`, is written, until it is removed. What lies about
   without a record is the rest of a removal that was interrupted.
2. Records are written and removed one after the other, so that a late write does not bring back what was removed.
3. Any thread may ask; what it gets is a value that does not change.
"""

import json
import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Literal

from longtake.models.domain.plan import PlanParams
from longtake.models.domain.prompt import Cue, PromptSpec
from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.config.loader import from_plain
from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.library.paths import RECORD, TAKES, folder, is_id

logger = logging.getLogger(__name__)


# Fields of a request, and of its take, that are settings of its video: their keys in the configuration.
SETTING_KEYS = {
    "num_inference_steps": "base.num_inference_steps",
    "guidance_scale": "base.guidance_scale",
    "fps": "video.fps",
    "width": "refiner.width",
    "height": "refiner.height",
    "coupling": "refiner.coupling",
}


class NoSuchTake(LookupError):
    """There is none with this id, or not any more."""


class Status(StrEnum):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"  # or cancelled: the error says which


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One video that was asked for: what, for whom, and how far it is. Times are Unix seconds."""

    id: str
    owner: str = ""  # whose key it was; "" where there are no keys
    model: str = ""
    prompt: str
    cues: tuple[Cue, ...] = ()
    negative_prompt: str = ""
    num_frames: int
    seed: int
    fps: int
    plan: PlanParams = field(default_factory=PlanParams)  # how it is cut; of one that was not begun, how it would be
    width: int
    height: int
    coupling: Coupling
    num_inference_steps: int | None = None  # of the base model; None: the endpoint's
    guidance_scale: float | None = None  # of the base model; None: the endpoint's
    status: Status = Status.QUEUED
    created_at: int
    started_at: int | None = None
    completed_at: int | None = None  # or failed
    expires_at: int | None = None
    error: tuple[str, str] | None = None  # code, message
    remixed_from: str | None = None  # id
    extends: str | None = None  # id
    size_bytes: int = 0  # of all its files
    transient: bool = False  # it is for one connection, and ends with it
    progress: int = 0  # percent; 100 when it is completed, not before
    fragments: tuple[int, ...] = ()  # bytes of each that is there, from the first one on
    made_with: str = ""  # hash of all that the bytes depend on beside the request
    ordinal: int = 0  # in the order of creation

    def __post_init__(self) -> None:
        folder(self.id)  # raises for what is no id

    @property
    def is_active(self) -> bool:
        """It waits or is in work."""
        return self.status in (Status.QUEUED, Status.IN_PROGRESS)

    @property
    def spec(self) -> PromptSpec:
        """Raises ValueError for what no video can be."""
        values = {name: getattr(self, name) for name in SETTING_KEYS} | {"coupling": self.coupling.value}
        settings = tuple((SETTING_KEYS[name], value) for name, value in values.items() if value is not None)
        return PromptSpec(
            self.id, self.prompt, self.negative_prompt, self.num_frames, self.seed, settings, cues=self.cues
        )


def new_id() -> str:
    """It cannot be guessed."""
    return f"video_{secrets.token_hex(16)}"


def extended(source: Take, prompt: str, num_frames_more: int, now: int) -> Take:
    """A take that begins as `source` and goes on for `num_frames_more` frames with `prompt`.

    Raises ValueError for what cannot be.
    """
    if num_frames_more < 1:
        raise ValueError(f"num_frames={num_frames_more}: it has to be at least 1")
    take = Take(
        id=new_id(),
        owner=source.owner,
        model=source.model,
        prompt=source.prompt,
        cues=(*source.cues, Cue(source.num_frames, prompt)),
        negative_prompt=source.negative_prompt,
        num_frames=source.num_frames + num_frames_more,
        seed=source.seed,
        fps=source.fps,
        plan=source.plan,
        width=source.width,
        height=source.height,
        coupling=source.coupling,
        num_inference_steps=source.num_inference_steps,
        guidance_scale=source.guidance_scale,
        created_at=now,
        extends=source.id,
    )
    assert take.spec, "a PromptSpec checks itself"
    return take


def with_prompt(take: Take, frame: int, prompt: str) -> Take:
    """`take` with another prompt from `frame` up to its next cue. Raises ValueError for a text that is none."""
    if frame == 0:
        changed = replace(take, prompt=prompt)
    else:
        cues = (*(cue for cue in take.cues if cue.from_frame != frame), Cue(frame, prompt))
        changed = replace(take, cues=tuple(sorted(cues, key=lambda cue: cue.from_frame)))
    assert changed.spec, "a PromptSpec checks itself"
    return changed


def write_take(take: Take) -> bytes:
    """As JSON."""
    return json.dumps(asdict(take), indent=1).encode()


def read_take(data: bytes) -> Take:
    """What `write_take` wrote; fields that are not known are left out. Raises ValueError for anything else."""
    try:
        values = json.loads(data)
    except RecursionError:
        raise ValueError("it is no JSON that anybody wrote") from None
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    known = {field.name for field in fields(Take)}
    values |= _old_settings(values.get("settings", []))
    return from_plain(Take, {name: value for name, value in values.items() if name in known})


def _old_settings(texts: object) -> dict[str, object]:
    """Fields that records of before kept in `settings`, as texts such as "base.num_inference_steps=8"."""
    names = {SETTING_KEYS[name]: name for name in ("num_inference_steps", "guidance_scale")}
    found: dict[str, object] = {}
    for text in texts if isinstance(texts, list) else [texts]:
        key, _, value = str(text).partition("=")
        if key not in names:
            raise ValueError(f"settings={text}: it is neither {' nor '.join(names)}")
        found[names[key]] = json.loads(value)
    return found


class Takes:
    """All takes of one store, the latest last."""

    def __init__(self, store: Store) -> None:
        """Knows none of them before `load`."""
        self.store = store
        self._takes: dict[str, Take] = {}
        self._write = threading.Lock()

    def load(self) -> list[str]:
        """Reads all records; a broken one is left as it is, with a warning. Returns ids of folders without a record."""
        paths = self.store.list(TAKES)
        ids = {parts[1] for path in paths if len(parts := path.split("/")) > 2 and is_id(parts[1])}
        recorded = [path for path in paths if path.endswith(f"/{RECORD}") and path.count("/") == 2]
        known = {path.split("/")[1] for path in recorded}
        read = [_read(path, data) for path, data in zip(recorded, self.store.get_each(recorded), strict=True)]
        takes = [take for take in read if take is not None]
        with self._write:
            self._takes = {take.id: take for take in sorted(takes, key=lambda take: (take.ordinal, take.id))}
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
        """Writes its record. Raises NoSuchTake when it was removed, and what the store raises."""
        with self._write:
            self._check(take.id)
            self._put(take)

    def note(self, take: Take) -> None:
        """As `save`, in memory alone. Raises NoSuchTake."""
        with self._write:
            self._check(take.id)
            self._takes[take.id] = take

    def forget(self, take_id: str) -> None:
        """Removes the record, from when on the take is gone. Raises NoSuchTake, and what the store raises."""
        with self._write:
            self._check(take_id)
            self.store.delete(f"{folder(take_id)}/{RECORD}")
            del self._takes[take_id]

    def delete(self, take_id: str) -> None:
        """Removes the record, then all other files, of which nobody may be writing any. Raises as `forget`."""
        self.forget(take_id)
        self.store.remove(folder(take_id))

    def get(self, take_id: str) -> Take:
        """Raises NoSuchTake, also for what is no id."""
        self._check(take_id)
        return self._takes[take_id]

    def all(self) -> Sequence[Take]:
        """In the order of creation."""
        return list(self._takes.values())

    def list(
        self, owner: str | None, after: str | None = None, limit: int = 20, order: Literal["asc", "desc"] = "desc"
    ) -> tuple[Sequence[Take], bool]:
        """A page of those of `owner` (of everybody: None), and whether there are more. NoSuchTake for `after`."""
        takes = [take for take in self.all() if owner is None or take.owner == owner]
        if order == "desc":
            takes.reverse()
        start = 0
        if after is not None:
            start = 1 + next((i for i, take in enumerate(takes) if take.id == after), len(takes))
            if start > len(takes):
                raise NoSuchTake(after)
        return takes[start : start + limit], len(takes) > start + limit

    def expired(self, now: float, max_disk_bytes: int) -> Sequence[str]:
        """Ids of those that have to go: past their time, then the oldest, until the rest fits. Active ones stay."""
        ended = [take for take in self.all() if not take.is_active]
        gone = {take.id for take in ended if take.expires_at is not None and take.expires_at <= now}
        left = sum(take.size_bytes for take in self.all() if take.id not in gone)
        for take in sorted(ended, key=lambda take: take.completed_at or 0):
            if left > max_disk_bytes and take.id not in gone:
                gone.add(take.id)
                left -= take.size_bytes
        return sorted(gone)

    def _check(self, take_id: str) -> None:
        if take_id not in self._takes:
            raise NoSuchTake(take_id)

    def _put(self, take: Take) -> None:
        self.store.put(f"{folder(take.id)}/{RECORD}", write_take(take))
        self._takes[take.id] = take


def _read(path: str, data: bytes | None) -> Take | None:
    if data is None:  # it went while we looked
        return None
    try:
        take = read_take(data)
        if take.id != path.split("/")[1]:
            raise ValueError(f"id={take.id} is that of another folder")
    except ValueError as error:
        logger.warning("record unreadable path=%s reason=%s", path, error)
        return None
    return take
