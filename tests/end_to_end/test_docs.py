"""Commands and Python of the README run as written, on toy stages. Documents name only what exists."""

import ast
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from longtake.models.video.mp4 import decode
from longtake.pipelines import api
from longtake.pipelines.__main__ import main
from longtake.pipelines.runners import stages
from tests.support.http_kit import running
from tests.support.places import ROOT
from tests.support.ray_toys import toy_factories
from tests.support.toy import ToyBundle

SERVED = "http://127.0.0.1:8000"
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    for module in (stages, api):
        monkeypatch.setattr(module, "build_bundle", lambda conf: ToyBundle())
    monkeypatch.chdir(tmp_path)


def python() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL))


@pytest.mark.xdist_group("ray")
def test_the_commands_and_the_python_of_the_readme_run(ray_cluster, monkeypatch):
    monkeypatch.setattr(stages, "stage_factories", toy_factories)
    (command,) = re.findall(r"^printf .*?[^\\]$", blocks("sh"), re.DOTALL | re.MULTILINE)
    subprocess.run(["bash", "-c", command], check=True)  # writes prompts.txt
    Image.new("RGB", (60, 40), "red").save("photo.png")
    for name, kind in (("animatediff", "AnimateDiffPipeline"), ("svd-xt", "StableVideoDiffusionPipeline")):
        Path("path/to", name).mkdir(parents=True)
        Path("path/to", name, "model_index.json").write_text(json.dumps({"_class_name": kind}))
    lines = blocks("sh").replace("\\\n", " ").replace("path/to/bundle", "tiny").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("longtake ")]
    commands = [argv for argv in commands if argv[1] not in ("train", "serve", "convert")]
    assert len(commands) >= 7
    for argv in commands:
        if argv[1:] == ["evaluate", "manifest=milder", "out=metrics-milder"]:
            argv.append("num_workers=1")  # each takes seconds to start; the other evaluation has one for each CPU
        assert main(argv[1:]) == 0, argv
    exec(compile("\n".join(one for one in python() if SERVED not in one), "README.md", "exec"), {})
    assert len(list(decode("take.mp4"))) == 80


@pytest.mark.xdist_group("ray")
def test_the_requests_of_the_readme_are_answered(ray_cluster, tmp_path):
    Image.new("RGB", (60, 40), "red").save("photo.png")
    with running(tmp_path, "base.height=16", "base.width=16") as kit:
        for block in python():
            if SERVED in block:
                exec(compile(block.replace(SERVED, kit.url), "README.md", "exec"), {})
        assert len(list(decode("ring.mp4"))) == 32
        post, stream = re.findall(r"^curl .*?[^\\]$", blocks("sh"), re.DOTALL | re.MULTILINE)
        video = json.loads(curl(post.replace(SERVED, kit.url)))
        curl(stream.partition("  #")[0].replace(SERVED, kit.url).replace("ID", video["id"]))
    assert len(list(decode("take.mp4"))) == 80


@pytest.mark.report("B18")
def test_the_rows_that_the_readme_prints_have_all_their_columns_at_80_characters(monkeypatch, capsys):
    path = "videos/469/prompts-8a7e768f4cf4.mp4"
    made = {"id": "prompts-8a7e768f4cf4", "status": "done", "reason": None, "path": path}
    failed = {
        "id": "prompts-0120e3fba19a",
        "status": "failed",
        "reason": "num_frames=0: " + "a long reason " * 9,
        "path": None,
    }
    monkeypatch.setattr(pd, "read_parquet", lambda _: pd.DataFrame([made, failed]))
    with pd.option_context("display.width", 80, "display.max_columns", 0):
        exec(next(block for block in python() if "read_parquet" in block), {})
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("status", "reason", "path", "num_frames=0: a long reason", path))


def curl(command: str) -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    return subprocess.run(shlex.split(command.replace("\\\n", " ")), check=True, capture_output=True).stdout


PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
PAGES += [page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name != "history"]
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
FOLDERS = "actors|conf|docs|models|notebooks|pipelines|tests"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "history" / "tiny.md"], ids=lambda page: page.name)
def test_links_in_the_documents_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_documents_name_exist(page):
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", page.read_text("utf-8")):
        assert (ROOT / path).exists(), path


def test_architecture_has_every_package_with_the_line_of_its_package():
    table = dict(re.findall(r"^\| `((?:pipelines|actors|models)[\w/]*)` \| (.*) \|$", ARCHITECTURE, re.MULTILINE))
    packages = {init.parent for top in ("pipelines", "actors", "models") for init in (ROOT / top).rglob("__init__.py")}
    lines = {
        package: ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) for package in packages
    }
    assert table == {package.relative_to(ROOT).as_posix(): line.splitlines()[0] for package, line in lines.items()}
    drawing = ARCHITECTURE.partition("```")[2].partition("```")[0]
    assert not [name for name in table if name.rpartition("/")[2] not in drawing]


@pytest.mark.parametrize("way, most", [("Local", 8), ("Bulk job", 12), ("HTTP", 14)])
def test_one_prompt_s_way_through_the_code_is_short(way, most):
    files = re.findall(
        r"^\d+\. `([\w/]+\.py)`", ARCHITECTURE.partition(f"**{way}**")[2].partition("\n\n**")[0], re.MULTILINE
    )
    assert 6 <= len(files) <= most
