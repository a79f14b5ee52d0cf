"""`make bench-serve`: the time that a client of the endpoint waits for the first picture, measured over HTTP.

`longtake serve` runs as a process of its own, with one base actor and one refiner actor, one core and one thread each.
Clients request videos at the same moment, and each follows its own video by events and by stream.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

from longtake.pipelines.dev.bench import FOLDER, PROMPTS
from longtake.pipelines.dev.timeline import COLORS
from longtake.pipelines.serve.settings import ServeConf, load_serve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SETTINGS = ("serve.in_flight=4", "ray.base.num_actors=1", "ray.refiner.num_actors=1")
COUNTS = (1, 2, 4)  # videos at once
COUPLINGS = ("causal", "symmetric")
TIMES = {"preview_s": "first preview chunk", "fragment_s": "first refined fragment", "end_s": "end"}
TIMEOUT_S = 1800.0
_OPEN = build_opener(ProxyHandler({})).open  # without a proxy from the environment


@dataclass(frozen=True, slots=True)
class Wait:
    """Waiting times of one client: seconds since just before its POST."""

    coupling: str
    at_once: int
    preview_s: float
    fragment_s: float
    end_s: float


def main(num_frames: int = 48, folder: Path = FOLDER) -> None:
    """Writes serve.json, serve.md and serve.png into `folder`."""
    conf = load_serve(overrides=SETTINGS)
    with _endpoint() as url:
        _measure(url, "causal", 1, num_frames)  # not measured: the first call builds caches
        waits = [
            wait for coupling in COUPLINGS for count in COUNTS for wait in _measure(url, coupling, count, num_frames)
        ]
    conditions = _conditions(conf, num_frames)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [asdict(wait) for wait in waits]
    (folder / "serve.json").write_text(json.dumps({"conditions": conditions, "videos": rows}, indent=1) + "\n")
    _draw(waits).savefig(folder / "serve.png")
    (folder / "serve.md").write_text(_page(waits, conditions))
    print((folder / "serve.md").read_text())


@contextmanager
def _endpoint() -> Iterator[str]:
    """The URL of an endpoint that runs inside the context. Raises RuntimeError with its log if it does not start."""
    with TemporaryDirectory(prefix="longtake-serve-") as folder, open(f"{folder}/log", "w+") as log:
        command = [
            sys.executable,
            "-m",
            "longtake.pipelines",
            "serve",
            "--port",
            "0",
            f"serve.takes={folder}/takes",
            *SETTINGS,
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None, "it is a pipe"
            url = process.stdout.readline().strip()
            if not url:
                log.seek(0)
                raise RuntimeError(f"the endpoint did not start: {log.read()[-2000:]}")
            yield url
        finally:
            process.terminate()
            process.wait(120)


def _measure(url: str, coupling: str, count: int, num_frames: int) -> list[Wait]:
    """`count` videos requested at the same moment."""
    gate = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(_watch, url, gate, coupling, seed, num_frames) for seed in range(count)]
        return [future.result() for future in futures]


def _watch(url: str, gate: threading.Barrier, coupling: str, seed: int, num_frames: int) -> Wait:
    body = {"prompt": PROMPTS[seed], "num_frames": num_frames, "seed": seed, "coupling": coupling}
    headers = {"Content-Type": "application/json"}
    gate.wait(TIMEOUT_S)
    began = time.monotonic()
    request = Request(f"{url}/v1/videos", json.dumps(body).encode(), headers)
    with _OPEN(request, timeout=TIMEOUT_S) as answer:
        video = f"{url}/v1/videos/{json.load(answer)['id']}"
    with ThreadPoolExecutor(1) as pool:
        preview = pool.submit(_first_preview, video)
        fragment, end = _stream(video)
        times = [round(at - began, 3) for at in (preview.result(), fragment, end)]
    return Wait(coupling, gate.parties, *times)


def _first_preview(video: str) -> float:
    """The time of the event by the monotonic clock."""
    with _OPEN(f"{video}/events", timeout=TIMEOUT_S) as answer:
        for line in answer:
            if line.strip() == b"event: preview":
                return time.monotonic()
    raise RuntimeError(f"{video}: it ended without a preview")


def _stream(video: str) -> tuple[float, float]:
    """The times of the first and the last bytes. Raises RuntimeError for a video that is not completed."""
    with _OPEN(f"{video}/stream", timeout=TIMEOUT_S) as answer:
        answer.read(1)
        first = time.monotonic()
        while answer.read1(2**20):
            pass
        last = time.monotonic()
    with _OPEN(video, timeout=TIMEOUT_S) as answer:
        if (status := json.load(answer)["status"]) not in (
            "completed",
            "in_progress",
        ):  # the plain file comes last
            raise RuntimeError(f"{video}: {status}")
    return first, last


def _conditions(conf: ServeConf, num_frames: int) -> dict[str, Any]:
    return {
        "bundle": Path(conf.bundle).name,
        "num_frames": num_frames,
        "fps": conf.fps,
        "width": conf.refiner.width,
        "height": conf.refiner.height,
        "base_steps": conf.base.num_inference_steps,
        "refiner_steps": conf.refiner.num_inference_steps,
        "cores": os.cpu_count(),
        "base_actors": conf.ray.base.num_actors,
        "refiner_actors": conf.ray.refiner.num_actors,
        "in_flight": conf.serve.in_flight,
    }


def _groups(waits: Sequence[Wait]) -> Iterator[tuple[str, int, dict[str, list[float]]]]:
    """(coupling, videos at once, their seconds by the names of TIMES)."""
    for coupling in COUPLINGS:
        for count in COUNTS:
            group = [wait for wait in waits if (wait.coupling, wait.at_once) == (coupling, count)]
            yield coupling, count, {name: [getattr(wait, name) for wait in group] for name in TIMES}


def _page(waits: Sequence[Wait], conditions: dict[str, Any]) -> str:
    rows = []
    for coupling, count, seconds in _groups(waits):
        cells = (f"{mean(values):.1f} ({max(values):.1f})" for values in seconds.values())
        rows.append(f"| {coupling} | {count} | {' | '.join(cells)} |")
    head = f"| coupling | videos at once | {' | '.join(TIMES.values())} |\n|{'---|' * (2 + len(TIMES))}"
    return PAGE.format(
        **conditions, table="\n".join([head, *rows]), video_s=conditions["num_frames"] / conditions["fps"]
    )


def _draw(waits: Sequence[Wait]) -> "Figure":
    """A group of bars per coupling and count, a colour per time; a bar is the mean, a black tick the longest wait."""
    from matplotlib.figure import Figure

    groups = list(_groups(waits))
    figure = Figure(figsize=(10, 0.4 + 0.75 * len(groups)), dpi=100, layout="constrained")
    chart = figure.subplots()
    for place, (label, color) in enumerate(zip(TIMES.values(), COLORS, strict=False)):
        lanes = [index + (place - (len(TIMES) - 1) / 2) * 0.27 for index in range(len(groups))]
        seconds = [list(times.values())[place] for _, _, times in groups]
        longest = [max(values) for values in seconds]
        chart.barh(lanes, [mean(values) for values in seconds], 0.22, color=color, label=label)
        chart.scatter(longest, lanes, marker="|", color="black", s=60, linewidths=1.2)
        for lane, values in zip(lanes, seconds, strict=True):
            at_most = f", at most {max(values):.1f} s" if len(values) > 1 else ""
            text = f"{mean(values):.1f} s{at_most}"
            chart.annotate(text, (max(values), lane), (6, 0), textcoords="offset points", va="center", fontsize=8)
    chart.set_yticks(range(len(groups)), [f"{coupling}, {count} at once" for coupling, count, _ in groups])
    chart.set_ylim(len(groups) - 0.5, -0.5)
    chart.set_xlim(0, 1.2 * max(wait.end_s for wait in waits))
    chart.xaxis.set_major_formatter("{x:g} s")
    chart.tick_params(labelsize=9)
    chart.tick_params(axis="y", length=0)
    chart.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=len(TIMES), frameon=False, fontsize=9)
    return figure


PAGE = """# The endpoint, measured

`make bench-serve`: `longtake serve` as a process of its own, with the {bundle} bundle on {cores} cores;
{base_actors} base actor and {refiner_actors} refiner actor, one thread each, serve.in_flight={in_flight}.
Videos of {num_frames} frames ({video_s:g} s at {fps} frames per second) of {width}x{height}; {base_steps} steps of the
base model, {refiner_steps} of the refiner. The clients are on the same machine and start at the same moment.

{table}

Seconds since just before the POST: the mean over the videos, and the longest in brackets. *first preview chunk*: its
event has arrived, and it can be fetched. *first refined fragment*: the first bytes of `/stream` have arrived. *end*:
the last bytes have.

![The means as bars, the longest as ticks](serve.png)
"""

if __name__ == "__main__":
    main()
