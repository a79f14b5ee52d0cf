"""Progress of a training in other processes, from its log: a bar on a terminal, else a line from time to time."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)
POLL_S = 1.0
LINE_S = 15.0


@contextmanager
def progress_bar(log: Path, steps: int) -> Iterator[None]:
    """Shows the lines added to `log` (JSON with step, seconds and metrics) until the block ends."""
    done = threading.Event()
    place = log.stat().st_size if log.exists() else 0  # an earlier run has shown its own lines
    thread = threading.Thread(target=_show, args=(log, place, steps, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _show(log: Path, place: int, steps: int, done: threading.Event) -> None:
    said = time.monotonic()
    with tqdm(total=steps, desc="training", unit="step", disable=None) as bar:
        while True:
            last = done.wait(POLL_S)
            rows, place = _added(log, place)
            for row in rows:
                bar.n = row["step"]
                bar.set_postfix({name: value for name, value in row.items() if name == "loss"})
            gates = [row for row in rows if any(name.startswith("gate/") for name in row)]
            if gates or (rows and (time.monotonic() - said > LINE_S or last)):
                logger.info("%s", " ".join(f"{name}={value:g}" for name, value in (gates or rows)[-1].items()))
                said = time.monotonic()
            if last:
                return


def _added(log: Path, place: int) -> tuple[list[dict[str, Any]], int]:
    """The complete lines behind `place`, and the place of their end."""
    if not log.exists():
        return [], place
    with log.open("rb") as file:
        file.seek(place)
        whole = file.read().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.splitlines()], place + len(whole) + (1 if whole else 0)
