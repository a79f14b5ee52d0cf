"""`longtake evaluate --compare A B C out=PATH`: evaluations of the same prompts and seeds, side by side.

Videos are pairs when prompt and seed are the same. What is shown is the mean of the differences to the first folder,
with its 95 % bootstrap interval over pairs: an interval without 0 is a difference.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from longtake.models.metrics.bootstrap import interval
from longtake.models.metrics.catalog import CATALOG, Better, Entry
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.gallery import STYLE
from longtake.pipelines.evaluate.measurer import read_bytes
from longtake.pipelines.evaluate.pictures import player
from longtake.pipelines.evaluate.report import OWN_STYLE, number
from longtake.pipelines.evaluate.results import SCHEMA, Evaluation
from longtake.pipelines.files.store import Store

Row = dict[str, Any]
Key = tuple[str, int]
NUM_SHOWN = 6  # pairs whose videos are on the page
MIN_PAIRS = 6  # for a verdict: intervals of fewer are as wide as chance
COLUMNS = [name for name in SCHEMA.names if not name.startswith("curve_")]


def check(folders: Sequence[str], options: Mapping[str, str]) -> tuple[Store, list[Evaluation]]:
    """The place for the page, and the evaluations. Raises ValueError naming what is wrong with which of them."""
    unknown = [name for name in options if name != "out"]
    if unknown:
        raise ValueError(f"{unknown[0]}={options[unknown[0]]}: with --compare only out can be set")
    if "out" not in options:
        raise ValueError("out is missing: where the page goes, such as out=compared")
    if len(folders) < 2:
        raise ValueError(f"--compare {' '.join(folders)}: it takes two folders at least")
    evaluations = [Evaluation(Store(folder)) for folder in folders]
    settings = []
    for folder, evaluation in zip(folders, evaluations, strict=True):
        if evaluation.settings is None:
            raise ValueError(f"--compare {folder}: no evaluation is there; run `longtake evaluate` with out={folder}")
        settings.append(evaluation.settings)
    for name in ("flow", "size", "clip"):
        for folder, one in zip(folders, settings, strict=True):
            if one[name] != settings[0][name]:
                raise ValueError(
                    f"--compare: {folders[0]} was measured with {name}={settings[0][name]} and {folder} with "
                    f"{name}={one[name]}; such figures are not compared"
                )
    store = Store(options["out"])
    store.check("out")
    return store, evaluations


def compare(store: Store, folders: Sequence[str], evaluations: Sequence[Evaluation]) -> Iterator[str]:
    """Writes differences.json and index.html; says in words what it found."""
    tables = [_by_key(evaluation.rows(COLUMNS)) for evaluation in evaluations]
    shared = sorted(set.intersection(*map(set, tables)))
    if not shared:
        raise ValueError(f"--compare {' '.join(folders)}: they have no prompt and seed in common")
    for folder, table in zip(folders, tables, strict=True):
        yield f"{folder}: {len(table)} videos, {len(shared)} of them in all folders"
    found = {
        folder: {entry.name: difference(entry.name, [tables[0][key] for key in shared], [table[key] for key in shared])
                 for entry in CATALOG}
        for folder, table in zip(folders[1:], tables[1:], strict=True)
    }  # fmt: skip
    store.put(
        "differences.json", json.dumps({"first": folders[0], "pairs": len(shared), "differences": found}).encode()
    )
    page = _page(store, folders, tables, shared, found)
    store.put("index.html", page.encode())


def difference(name: str, first: Sequence[Row], other: Sequence[Row]) -> list[float] | None:
    """Mean, low and high of other - first over pairs in which both are finite; None where there is no such pair."""
    pairs = [
        (a[name], b[name]) for a, b in zip(first, other, strict=True) if a[name] is not None and b[name] is not None
    ]
    finite = [float(b - a) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    return list(interval(finite)) if finite else None


def _by_key(rows: Sequence[Row]) -> dict[Key, Row]:
    return {(row["prompt"], row["seed"]): row for row in rows if _has_key(row)}


def _has_key(row: Row) -> bool:
    return row["status"] == "done" and row["prompt"] is not None and row["seed"] is not None


def _page(
    store: Store,
    folders: Sequence[str],
    tables: Sequence[Mapping[Key, Row]],
    shared: Sequence[Key],
    found: Mapping[str, Mapping[str, list[float] | None]],
) -> str:
    lines = [_line(entry, tables[0], shared, found) for entry in CATALOG]
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in ("figure", folders[0], *found, "better"))
    shown = "".join(_pair(store, folders, tables, key, i) for i, key in enumerate(shared[:NUM_SHOWN]))
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    counts = f"{len(shared)} pairs of the same prompt and seed; differences to {folders[0]} with 95 % intervals."
    if len(shared) < MIN_PAIRS:
        counts += f" Fewer than {MIN_PAIRS} are too few for a verdict."
    return PAGE.format(style=STYLE + OWN_STYLE + PAIR_STYLE, counts=escape(counts), table=table, videos=shown)


def _line(
    entry: Entry,
    first: Mapping[Key, Row],
    shared: Sequence[Key],
    found: Mapping[str, Mapping[str, list[float] | None]],
) -> str:
    values = [float(first[key][entry.name]) for key in shared if first[key][entry.name] is not None]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    cells = [
        f"<th scope='row'>{escape(entry.title)}<code>{entry.name}</code></th>",
        f"<td class='number'>{number(sum(finite) / len(finite))}</td>",
        *(_cell(entry, one[entry.name], len(shared) >= MIN_PAIRS) for one in found.values()),
        f"<td>{entry.better}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(entry: Entry, figures: list[float] | None, judged: bool) -> str:
    if figures is None:
        return "<td></td>"
    mean, low, high = figures
    verdict = ""
    if judged and entry.better is not Better.NEITHER and (low > 0 or high < 0):
        verdict = "better" if (mean > 0) == (entry.better is Better.HIGHER) else "worse"
    word = f" <b class='{verdict}'>{verdict}</b>" if verdict else ""
    return f"<td class='number'>{mean:+.3g} <small>{low:+.3g} to {high:+.3g}</small>{word}</td>"


def _pair(store: Store, folders: Sequence[str], tables: Sequence[Mapping[Key, Row]], key: Key, number: int) -> str:
    figures = []
    for i, (folder, table) in enumerate(zip(folders, tables, strict=True)):
        file, _, member = table[key]["path"].partition("#")
        name = f"shown/{number:03d}-{i}.mp4"
        try:
            store.put(name, read_bytes(Listed(file, table[key]["url"], member or None)))
        except OSError:  # it is gone by now
            continue
        shown = player(name, f"{folder}: {key[0]}")
        figures.append(f"<figure>{shown}<figcaption>{escape(folder)}</figcaption></figure>")
    title = f"<h3>{escape(key[0])} <small>seed {key[1]}</small></h3>"
    return f'<article>{title}<div class="pairs">{"".join(figures)}</div></article>'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Comparison</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>Comparison</h1><p>{counts}</p></header>
<section><h2>Figures</h2>{table}</section>
<section><h2>Videos</h2>{videos}</section>
</main>
</body>
</html>
"""

PAIR_STYLE = """
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: 1rem; margin-top: .8rem; }
.better { color: #2f8f5b; } .worse { color: #c0492f; }
"""
