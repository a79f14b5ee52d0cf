"""A folder that gets its name only when it is whole.

1. Everything is written to `.NAME.part/new` beside it. `.NAME.part/lock` is held by one process at a time, and the
   lock ends with it: what a killed one left is cleared by the next.
2. At the end a folder of ours of that name goes to `.NAME.part/old`, and the new one takes its place. What only the old
   one has (`refiner/` in a bundle) is moved over. A process killed in between leaves enough to finish that.
3. An exception, Ctrl-C included, leaves the folder as it was, and nothing else.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longtake.pipelines.config.bundle_file import NAME, TRAINED, read_bundle_file
from longtake.pipelines.terminal.exit_codes import Refused


def check_out(out: Path, makes: str) -> None:
    """Raises ValueError for a place where no folder can be written, or that is not as the same conversion wrote it.

    `makes` is a part that tells conversions apart.
    """
    if not out.parent.is_dir():
        raise ValueError(f"out={out}: there is no folder {out.parent}")
    if out.exists() and not _is_ours(out, makes):
        raise ValueError(f"out={out} exists and was not made by `longtake convert`: name another folder")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"out={out}: {out.parent} is not writable")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """An empty folder that becomes `out` after the block. Raises Refused while another process makes the same one."""
    part = out.with_name(f".{out.name}.part")
    with _locked(part, out):
        try:
            _settle(part, out)
            shutil.rmtree(part / "new", ignore_errors=True)
            (part / "new").mkdir()
            yield part / "new"
            if out.exists():
                out.rename(part / "old")
            (part / "new").rename(out)
            _settle(part, out)
        finally:
            _settle(part, out)
            shutil.rmtree(part, ignore_errors=True)


def _is_ours(folder: Path, makes: str) -> bool:
    """Whether the same conversion wrote it, and no training since.

    An empty one may be taken, and one that holds a converted refiner only.
    """
    if not folder.is_dir():
        return False
    if (folder / NAME).is_file():
        sources = read_bundle_file(folder).get("sources", ())
        made = any(makes in source.get("parts", ()) for source in sources)
        return made and not any(TRAINED in source for source in sources)
    names = {entry.name for entry in folder.iterdir() if not (entry.name[0] == "." and entry.suffix == ".part")}
    return not names or (names == {"refiner"} and makes != "refiner" and _is_ours(folder / "refiner", "refiner"))


def _settle(part: Path, out: Path) -> None:
    """Rule 2, from wherever it stopped."""
    old = part / "old"
    if not old.is_dir():
        return
    if not out.exists():
        old.rename(out)
        return
    for entry in old.iterdir():
        if not (out / entry.name).exists():
            entry.rename(out / entry.name)
    shutil.rmtree(old)


@contextmanager
def _locked(part: Path, out: Path) -> Iterator[None]:
    part.mkdir(exist_ok=True)
    path = part / "lock"
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):  # held, or removed by a holder that ended between our two lines
            ours = False
        if not ours:
            raise Refused(f"out={out}: another longtake convert is already writing there")
        yield
