"""The page of an evaluation: figures with intervals and distributions, and the best and worst videos beside theirs.

It needs nothing but the videos that it shows, which are copied beside it, so the folder can be moved, zipped or served.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from longtake.models.metrics.bootstrap import interval
from longtake.models.metrics.catalog import BY_NAME, CATALOG, Better, Entry
from longtake.pipelines.datasets.video_list import Listed
from longtake.pipelines.evaluate.gallery import STYLE
from longtake.pipelines.evaluate.measurer import read_bytes
from longtake.pipelines.evaluate.pictures import curve, histogram, player
from longtake.pipelines.files.store import Store

Row = Mapping[str, Any]
JUDGES = ("mawe_code", "seam_ratio", "drift_color", "clip_score")  # by these the best and the worst are chosen
NUM_SHOWN = 2  # best and worst of each
CURVES = {"flow": "motion", "warp_error": "warp error", "difference": "frame difference", "sharpness": "sharpness"}


def write_report(store: Store, rows: Sequence[Row], note: str) -> str:
    """Writes index.html and the videos that it shows; returns the page."""
    page = report(rows, note, _copied(store, [row for _, some in chosen(rows) for row in some]))
    store.put("index.html", page.encode())
    return page


def report(rows: Sequence[Row], note: str, files: Mapping[str, str]) -> str:
    """The page as HTML; `files` says where the video of a path is, for those that are shown."""
    good, bad = [row for row in rows if row["status"] == "done"], [row for row in rows if row["status"] != "done"]
    flows = sorted({row["flow"] for row in good})
    counts = f"{len(good)} videos measured, {len(bad)} failed. Flow: {', '.join(flows) or 'none'}. {note}."
    parts = [
        f'<section><h2>Figures</h2><p class="quiet">Mean over videos with its 95 % bootstrap interval; infinite ones '
        f"(a still video has an infinite MAWE) are counted beside it.</p>{_table(good)}</section>",
        *(_videos(title, some, files) for title, some in chosen(rows)),
        _failures(bad),
    ]
    return PAGE.format(style=STYLE + OWN_STYLE, counts=escape(counts), parts="\n".join(part for part in parts if part))


def chosen(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The best and the worst by each judge, with a title."""
    groups = []
    for name in JUDGES:
        entry = BY_NAME[name]
        known = [row for row in rows if row["status"] == "done" and row[name] is not None]
        ordered = sorted(known, key=lambda row: row[name], reverse=entry.better is Better.HIGHER)
        if len(ordered) >= 2:
            count = min(NUM_SHOWN, len(ordered) // 2)
            groups.append((f"Best {entry.title}", ordered[:count]))
            groups.append((f"Worst {entry.title}", ordered[-count:][::-1]))
    return groups


def _copied(store: Store, rows: Iterable[Row]) -> dict[str, str]:
    """Copies the videos into the folder, once; one that is gone by now is not shown."""
    files: dict[str, str] = {}
    for row in rows:
        if row["path"] not in files:
            file, _, member = row["path"].partition("#")
            name = f"shown/{len(files):03d}.mp4"
            try:
                store.put(name, read_bytes(Listed(file, row["url"], member or None)))
                files[row["path"]] = name
            except OSError:
                continue
    return files


def _table(rows: Sequence[Row]) -> str:
    lines = [_line(entry, rows) for entry in CATALOG]
    head = "<tr><th scope='col'>figure</th><th scope='col'>mean</th><th scope='col'>95 %</th><th scope='col'>"
    head += "distribution</th><th scope='col'>better</th><th scope='col'>what it is</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def _line(entry: Entry, rows: Sequence[Row]) -> str:
    known = [float(row[entry.name]) for row in rows if row[entry.name] is not None]
    finite = [value for value in known if math.isfinite(value)]
    if not known:
        return ""
    mean, low, high = interval(finite) if finite else (math.inf, math.inf, math.inf)
    more = f"<small>{len(known) - len(finite)} infinite</small>" if len(finite) < len(known) else ""
    cells = [
        f"<th scope='row'>{escape(entry.title)}<code>{entry.name}</code></th>",
        f"<td class='number'>{number(mean)}{more}</td>",
        f"<td class='number'>{number(low)} to {number(high)}</td>",
        f"<td>{histogram(finite, f'{entry.title}: {len(finite)} videos') if len(finite) > 1 else ''}</td>",
        f"<td>{entry.better}</td>",
        f"<td class='quiet'>{escape(entry.meaning)} <small>{escape(entry.unit)}, {escape(entry.source)}</small></td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def number(value: float) -> str:
    """Three digits that count; thousands in full."""
    if math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _videos(title: str, rows: Sequence[Row], files: Mapping[str, str]) -> str:
    cards = "".join(_card(row, files[row["path"]]) for row in rows if row["path"] in files)
    return f'<section><h2>{escape(title)}</h2><div class="cards">{cards}</div></section>' if cards else ""


def _card(row: Row, file: str) -> str:
    said = str(row["prompt"] or row["path"])
    facts = "".join(
        f"<div><dt>{escape(BY_NAME[name].title)}</dt><dd>{number(row[name])}</dd></div>"
        for name in (*JUDGES, "scuts", "flow_std")
        if row[name] is not None
    )
    lines = "".join(
        f"<figure>{curve(row[f'curve_{name}'], title)}<figcaption>{title}</figcaption></figure>"
        for name, title in CURVES.items()
        if row.get(f"curve_{name}")
    )
    return (
        f'<article>{player(file, said)}<div><h3>{escape(said)}</h3><p class="quiet">{escape(row["path"])}</p>'
        f'<dl>{facts}</dl><div class="curves">{lines}</div></div></article>'
    )


def _failures(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    items = "".join(f"<li>{escape(row['path'])}: {escape(row['reason'])}</li>" for row in rows[:50])
    more = f"<p>and {len(rows) - 50} more, in the parquet files</p>" if len(rows) > 50 else ""
    return f"<section><h2>Failed</h2><ul>{items}</ul>{more}</section>"


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>Evaluation</h1><p>{counts}</p></header>
{parts}
</main>
</body>
</html>
"""

OWN_STYLE = """
main { max-width: 72rem; }
section { margin-top: 2.5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
.quiet, small { color: var(--quiet); }
small { display: block; font-size: .75rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--quiet); font-weight: 500; font-size: .8rem; }
tbody th { font-weight: 500; min-width: 10rem; }
code { display: block; color: var(--quiet); font-size: .75rem; font-weight: 400; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.quiet { min-width: 16rem; font-size: .85rem; }
svg { display: block; color: #3d7dca; }
.cards { display: grid; gap: 1.5rem; }
.cards article { display: grid; grid-template-columns: 16rem minmax(0, 1fr); gap: 1.25rem; margin: 0; padding: 0;
  border: 0; }
h3 { margin: 0; font-size: 1rem; font-weight: 500; overflow-wrap: anywhere; }
.cards p { margin: .1rem 0 .6rem; font-size: .8rem; overflow-wrap: anywhere; }
.cards dl { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; margin: 0 0 .8rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; }
.curves svg { width: 100%; }
@media (max-width: 46rem) { .cards article { grid-template-columns: minmax(0, 1fr); } }
"""
