"""Executes the notebooks in an empty folder. `make notebooks` keeps the outputs.

A saved notebook depends on its sources and outputs alone: no execution times, no names of local kernels, no place of
the folder.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

from tests.support.places import ROOT

FOLDER = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path, folder: Path, cell_timeout_s: float = 600) -> nbformat.NotebookNode:
    """The notebook after all its cells ran in `folder`. Raises CellExecutionError if one raises."""
    notebook = nbformat.read(path, as_version=4)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),  # for `longtake`
        "PYTHONWARNINGS": "ignore",
    }
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook,
        timeout=cell_timeout_s,
        kernel_name="python3",
        resources=resources,
        record_timing=False,
        coalesce_streams=True,
        startup_timeout=300,  # on a busy machine a kernel needs more than the default minute
    )
    client.execute(env=environment)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = output.text.replace(f"{folder}/", "")
    return notebook


def main(paths: list[str]) -> None:
    """Executes these notebooks, or all of them, in place."""
    for path in [Path(name) for name in paths] or sorted(FOLDER.glob("*.ipynb")):
        with TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
