"""Lists of videos: from the folder of a bulk job, a videofolder, a table, a folder or a glob.

a folder with manifest/                of `longtake bulk`: prompt, seed and the borders of chunks and windows are known
a folder with metadata.*               a videofolder (Hugging Face): column file_name, and optionally prompt or text;
                                       the folders in it may have tables of their own
a .parquet, .csv, .tsv, .jsonl file    column path or file_name, relative to the file's folder
any other folder, file or glob         the videos in it (video_files.py says which files these are)
"""

import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from longtake.models.domain.checks import exact
from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams
from longtake.models.video.fit import Fit
from longtake.pipelines.config.loader import from_plain
from longtake.pipelines.datasets.file_versions import version_of
from longtake.pipelines.datasets.manifest import FOLDER, Manifest, VideoRow
from longtake.pipelines.datasets.places import Place, place_of, protocol_of
from longtake.pipelines.datasets.tables import TABLES, is_blank, listed, read_table, whole
from longtake.pipelines.datasets.video_files import VIDEOS, find_videos
from longtake.pipelines.files.store import NUM_REQUESTS, Store

NAMES, CAPTIONS = ("path", "file_name"), ("prompt", "text", "caption")  # columns of a table, the first that has a value
METADATA = tuple(f"metadata{kind}" for kind in TABLES)  # of one folder the first is read


@dataclass(frozen=True, slots=True)
class Listed:
    """One video. `path` names it in the list, `url` opens it, and `member` is its name in a tar there."""

    path: str
    url: str
    member: str | None = None
    id: str | None = None
    prompt: str | None = None
    seed: int | None = None
    borders: tuple[int, ...] = ()  # frames at which its chunks and windows begin
    reason: str | None = None  # for the absence of a video
    made: bool = True  # false: a bulk job failed to make it, which is no fault of the file
    version: str | None = None  # of the file: it changes when the bytes do
    has_bars: bool = False  # it was made with refiner.fit=contain

    def as_text(self) -> str:
        """The video as JSON, to be sent to a worker."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_text(text: str) -> "Listed":
        fields = json.loads(text)
        return Listed(**{**fields, "borders": tuple(fields["borders"])})

    @property
    def digest(self) -> str:
        """A digest, in 16 digits, of everything known about the video, including the version of its file."""
        about = {**asdict(self), "url": None}  # the same folder may be mounted elsewhere
        del about["has_bars"]  # a file with bars has another version than one without
        return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]

    def check(self) -> None:
        """Raises ValueError, with the reason, for a row of the list that has no file."""
        if self.reason is not None:
            raise ValueError(self.reason if self.made else f"it was not made: {self.reason}")

    @contextmanager
    def local(self) -> Iterator[Path]:
        """The video as a file on this machine: itself, or a copy that is deleted at the end.

        Raises OSError, or ValueError for a member without data and as `check`.
        """
        self.check()
        place = place_of(self.url)
        if isinstance(place.fs, LocalFileSystem) and self.member is None:
            yield Path(place.path)
            return
        with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
            copy = Path(folder, f"video{Path(self.member or place.path).suffix}")
            with place.open() as file, copy.open("wb") as target:
                if self.member is None:
                    shutil.copyfileobj(file, target, 1 << 22)
                else:
                    with tarfile.open(fileobj=file) as tar:
                        member = tar.extractfile(self.member)
                        if member is None:
                            raise ValueError(f"{self.member} is not a file in {self.url}")
                        shutil.copyfileobj(member, target, 1 << 22)
            yield copy


class VideoList(list[Listed]):
    """The videos; `notes` are lines on what was skipped or merged."""

    def __init__(self, videos: Iterable[Listed] = (), notes: Iterable[str] = ()) -> None:
        super().__init__(videos)
        self.notes = list(notes)


def list_videos(manifest: str) -> VideoList:
    """The videos of `manifest`, sorted by path. Raises ValueError, naming it, if it has none or cannot be read."""
    if not manifest:
        raise ValueError("manifest= is empty: it must be a folder, a table, or a file or glob of videos")
    try:
        found = _list(place_of(manifest))
    except Exception as error:  # unknown protocol, package, bucket, broken tables: each library has its own
        raise ValueError(f"manifest={manifest}: {str(error) or type(error).__name__}") from error
    if not found:
        raise ValueError(f"manifest={manifest}: no video found{''.join(f'; {note}' for note in found.notes)}")
    unique = {video.digest: video for video in found}
    repeated = len(found) - len(unique)
    rows = "1 row repeats" if repeated == 1 else f"{repeated} rows repeat"
    notes = [f"{rows} another one in every column: duplicates are dropped"] if repeated else []
    return VideoList(sorted(unique.values(), key=lambda video: video.path), [*found.notes, *notes])


def _list(place: Place) -> VideoList:
    fs, path = place.fs, place.path
    if fs.isdir(f"{path}/{FOLDER}"):
        store = Store(place.url)
        rows = list(Manifest(store).rows())
        if rows:  # else a folder of videos that has this name
            return VideoList(_ours(store, row) for row in rows)
    if path.lower().endswith(TABLES) and fs.isfile(path):
        return VideoList(_with_versions(_of_table(place)))
    videos = _of_tables(place) if fs.isdir(path) else VideoList()
    if videos:
        return videos
    found = find_videos(place)
    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        listed = pool.map(lambda name: _of_file(found.base.below(name), name, found.files[name]), found.files)
        return VideoList(listed, [*videos.notes, *([found.passed_over] if found.passed_over else [])])


def shown(text: str) -> str:
    """Text that can be written: what is not valid UTF-8, as in some Linux file names, becomes `\\udce9`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _ours(store: Store, row: VideoRow) -> Listed:
    if row.path is None:
        name = f"(not made) {row.id}"
        return Listed(name, "", None, row.id, row.prompt, row.seed, reason=row.reason, made=False)
    # Only a shard has members; no other name of a bulk job holds a "#".
    tar, in_tar, member = row.path.partition(".tar#")
    file = f"{tar}.tar" if in_tar else row.path
    url = f"{store.url.rstrip('/')}/{file}"
    return Listed(
        row.path,
        url,
        member or None,
        row.id,
        row.prompt,
        row.seed,
        _borders(row),
        version=row.sha256,
        has_bars=_settings(row).get("refiner.fit") == Fit.CONTAIN,
    )


def _settings(row: VideoRow) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(row.settings or "{}")
    return settings


def _borders(row: VideoRow) -> tuple[int, ...]:
    own = {key.removeprefix("plan."): value for key, value in _settings(row).items() if key.startswith("plan.")}
    params, num_frames, num_old = from_plain(PlanParams, own), row.num_frames or 1, row.extends_frames or 0
    plan, shift = Plan(num_frames, params), 0
    if num_old:
        extension = Extension(num_old, num_frames - num_old, params)
        plan, shift = extension.plan, extension.shift
    starts = {piece.start - shift for pieces in (plan.chunks, plan.windows) for piece in pieces}
    first = max(1, num_old)  # up to here the frames of a video that is continued are none of ours
    return tuple(sorted(start for start in starts if first <= start < num_frames))


def _of_file(place: Place, name: str, info: Mapping[str, Any]) -> Listed:
    return Listed(shown(name), place.url, version=version_of(place, info))


def _of_tables(root: Place) -> VideoList:
    """The videos of all tables of a videofolder, in its folder and below; none if it has no such table.

    A table below that names no file is about something else. Raises ValueError for such a table in the folder itself.
    """
    below = (f"/{file.removeprefix(root.path).lstrip('/')}" for file in root.fs.find(root.path))  # "" is a zip's root
    names = [name for name in below if "/." not in name]
    tables: dict[str, str] = {}  # of each folder
    notes = []
    for name in sorted((name for name in names if name.rpartition("/")[2] in METADATA), key=_rank):
        folder, _, table = name.rpartition("/")
        if tables.setdefault(folder, table) != table:
            notes.append(f"{name[1:]} skipped: {tables[folder]} is in the same folder")
    videos, paths = [], []
    for folder, table in tables.items():
        path = f"{folder}/{table}"[1:]
        try:
            videos += _of_table(root.at(f"{root.path}/{path}"), folder[1:])
            paths.append(path)
        except ValueError as error:
            if not folder:
                raise
            notes.append(f"{path} skipped: {error}")
    named = {video.url for video in videos}
    others = [name for name in names if PurePosixPath(name).suffix.lower() in VIDEOS]
    others = [name for name in others if root.at(f"{root.path}{name}").url not in named]
    if videos and others:
        skipped = "1 video" if len(others) == 1 else f"{len(others)} videos"
        where = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more tables" if len(paths) > 3 else "")
        notes.append(f"{skipped} in the folder skipped: not listed in {where}")
    return VideoList(_with_versions(videos), notes)


def _rank(name: str) -> tuple[str, int]:
    folder, _, table = name.rpartition("/")
    return folder, METADATA.index(table)


def _of_table(table: Place, below: str = "") -> list[Listed]:
    """A video for each row; `below` is the table's folder in the one that was named. Raises ValueError if no row names
    a file."""
    folder, _, name = table.path.rpartition("/")
    with table.open() as file:
        read = list(read_table(file, PurePosixPath(name).suffix.lower(), NAMES).rows)
    place = f"{below}/{name}" if below else name
    rows = [
        _of_row(table.at(folder), below, f"{place}, row {number}", fields, reason)
        for number, (_, fields, reason) in enumerate(read, 1)
    ]
    if not rows:
        raise ValueError(f"{place} has no rows")
    if not any(video.url for video in rows):
        raise ValueError(f"no row can be used; {rows[0].path}: {rows[0].reason}")
    return rows


def _of_row(folder: Place, below: str, place: str, fields: Mapping[str, Any] | None, reason: str | None) -> Listed:
    """The video of a row; with a reason, and named by its `place`, if the row cannot be used."""
    if fields is None:
        return Listed(place, "", reason=reason)
    row = {name: value for name, value in fields.items() if not is_blank(value)}
    name = next((row[key] for key in NAMES if key in row), None)
    if name is not None and not isinstance(name, str):
        return Listed(place, "", reason=f"path={name!r:.60} is not text")
    if name is None:
        columns = listed([str(key) for key in row])
        return Listed(place, "", reason=f"it has no path and no file_name; its columns are {columns}")
    url = name if protocol_of(name) else folder.below(name).url
    path = shown(name if not below or url == name else f"{below}/{name}")
    prompt = next((shown(str(row[key])) for key in CAPTIONS if key in row), None)
    known: dict[str, Any] = {"id": shown(str(exact(row["id"]))) if "id" in row else None, "prompt": prompt}
    column = next((key for key in CAPTIONS if key in row), "prompt")
    if not isinstance(row.get(column, ""), str | int | float):
        return Listed(path, "", id=known["id"], reason=f"{column}={row[column]!r:.60} is not text")
    try:
        seed = whole(row, "seed")
    except ValueError as error:
        return Listed(path, "", **known, reason=str(error))
    return Listed(path, url, **known, seed=seed)


def _with_versions(videos: Iterable[Listed]) -> list[Listed]:
    with ThreadPoolExecutor(NUM_REQUESTS) as pool:
        return list(pool.map(_with_version, videos))


def _with_version(video: Listed) -> Listed:
    if not video.url:
        return video
    with suppress(Exception):  # a missing file is reported when it is opened
        place = place_of(video.url)
        return replace(video, version=version_of(place, place.patiently(lambda: place.fs.info(place.path))))
    return video
