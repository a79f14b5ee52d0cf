"""The notebooks run from top to bottom with the outputs they discuss; the committed ones are small and complete."""

import os
import re

import nbformat
import pytest

from tests.end_to_end.notebooks import FOLDER, METADATA, execute

NAMES = ("01_quickstart", "02_seams", "03_bulk_and_mlflow", "04_throughput")
SHOWN = {  # numbers of videos, pictures and tables
    "01_quickstart": (2, 1, 0),
    "02_seams": (1, 5, 1),
    "03_bulk_and_mlflow": (3, 2, 3),
    "04_throughput": (0, 1, 1),
}
PRINTED = {  # regular expressions that the output must match
    "03_bulk_and_mlflow": ("dataset: 3 videos made, 1 failed, 0 already finished", "FINISHED"),
    "04_throughput": (r"at the same time: \d+% of the time",),
}
MAX_BYTES = 700_000
CELL_TIMEOUT_S = 300


def outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(notebook) -> tuple[int, int, int]:
    data = [output.get("data", {}) for output in outputs(notebook)]
    html = [one.get("text/html", "") for one in data]
    return (
        sum(text.count("data:video/mp4;base64,") for text in html),
        sum("image/png" in one for one in data),
        sum("<table" in text for text in html),
    )


def text(notebook) -> str:
    """Everything printed, and the plain text of everything displayed."""
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs(notebook))


@pytest.mark.chaos  # nothing is killed, but their videos take a minute
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_notebook_runs_and_shows_what_it_speaks_of(name, tmp_path):
    notebook = execute(FOLDER / f"{name}.ipynb", tmp_path, CELL_TIMEOUT_S)
    assert_whole(name, notebook)
    assert not [
        output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"
    ]


@pytest.mark.chaos  # nothing is killed, but starting actors with networks takes two minutes
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize("name", NAMES[2:])
def test_a_notebook_with_actors_runs_and_shows_what_it_speaks_of(name, ray_cluster, monkeypatch, tmp_path):
    """Ray in a notebook joins the one of the tests: starting another takes ten seconds."""
    monkeypatch.setenv("RAY_ADDRESS", ray_cluster.get_runtime_context().gcs_address)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert_whole(name, execute(FOLDER / f"{name}.ipynb", tmp_path, CELL_TIMEOUT_S))


def assert_whole(name, notebook):
    assert shown(notebook) == SHOWN[name]
    for pattern in PRINTED.get(name, ()):
        assert re.search(pattern, text(notebook)), pattern


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_was_executed_in_order_and_is_small(name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert_whole(name, notebook)
    assert path.stat().st_size < MAX_BYTES
    assert notebook.metadata == METADATA and not any(cell.metadata for cell in notebook.cells)


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)
