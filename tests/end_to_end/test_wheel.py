"""The installed wheel: one package and nothing else, running in a folder with packages of the same names."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path, PurePosixPath
from urllib.request import Request, urlopen

import pytest

from longtake.models.video.mp4 import decode
from tests.support.places import ROOT

FOLDERS = ("longtake", "models", "pipelines", "actors", "conf")
DEVELOPMENT = ("longtake/pipelines/dev", "longtake/models/toy_world", "longtake/conf/tiny_training.yaml")
MAX_CODE_BYTES = 2_000_000  # unpacked, everything but the weights: 1.0 MB today
PROMPT = "a large red circle moves right over a plain navy background"
SMALL = ("base.num_inference_steps=1", "refiner.num_inference_steps=1", "refiner.height=64", "refiner.width=64")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built offline from a copy of the sources, since setuptools leaves files in the folder it builds."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in FOLDERS:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # Folders beside the sources, which must not be packaged.
    for name in ("tests", "notebooks"):
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    [built] = out.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The `bin` of a fresh environment with the wheel; its dependencies are those of the tests' environment.

    A .pth file adds their folder to the path. The .pth files in that folder are not read, so this checkout's editable
    install stays invisible.
    """
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip("--python", home / "bin" / "python", "install", "--no-deps", wheel)
    [site] = home.glob("lib/python*/site-packages")
    assert {path.name.partition("-")[0] for path in site.iterdir()} == {"longtake"}
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A user's folder with packages named like this repository's folders, which raise when they are imported."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("models", "pipelines", "actors", "conf"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of the user, not of Longtake')\n")
    (folder / "prompts.txt").write_text(f"{PROMPT}\n")
    return folder


@pytest.fixture(scope="module")
def environment(installed) -> dict[str, str]:
    """The environment variables of a user's shell: no PYTHONPATH, no Ray of the tests."""
    ours = ("PYTHONPATH", "RAY_ADDRESS", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PATH": f"{installed}{os.pathsep}{kept['PATH']}", "RAY_raylet_start_wait_time_s": "150"}


def pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", *arguments]
    subprocess.run(list(map(str, command)), check=True, env={**os.environ, "PIP_NO_INDEX": "1"})


def frames(path: Path) -> int:
    return len(list(decode(path)))


def test_a_wheel_holds_the_product_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        size = {info.filename: info.file_size for info in archive.infolist()}
    paths = [PurePosixPath(name) for name in size]
    assert {path.parts[0].partition("-")[0] for path in paths} == {"longtake"}
    assert {path.parts[1] for path in paths if path.parts[0] == "longtake"} == {
        "__init__.py", "actors", "conf", "models", "pipelines",
    }  # fmt: skip
    assert not [name for name in size if name.startswith(DEVELOPMENT)]

    def bundle(files) -> int:
        return sum(size for name, size in files if "models/bundles/" in name)

    stored = ((str(path), path.stat().st_size) for path in (ROOT / "models" / "bundles").rglob("*") if path.is_file())
    assert bundle(size.items()) == bundle(stored)
    assert sum(size.values()) <= bundle(size.items()) + MAX_CODE_BYTES


def test_the_command_line_makes_a_video(installed, project, environment):
    command = ["longtake", "generate", PROMPT, "--num-frames", "8", "--out", "command.mp4", *SMALL]
    subprocess.run(command, cwd=project, env=environment, check=True)
    assert frames(project / "command.mp4") == 8


def test_the_python_api_makes_a_video(installed, project, environment):
    (project / "mine.py").write_text(
        "import longtake\n"
        f"model = longtake.load('tiny', overrides={SMALL!r})\n"
        f"longtake.write_mp4(model.stream({PROMPT!r}, num_frames=8), 'python.mp4')\n"
        "print(longtake.__file__)\n"
    )
    ran = subprocess.run(["python", "mine.py"], cwd=project, env=environment, check=True, stdout=subprocess.PIPE)
    assert Path(ran.stdout.decode().strip()).is_relative_to(installed.parent)
    assert frames(project / "python.mp4") == 8


# Ray starts in both of these, each with networks: a minute or more. The two tests above are what every commit needs.
@pytest.mark.chaos
def test_a_bulk_job_makes_a_dataset(installed, project, environment):
    """Started as by `ray job submit --working-dir .`: workers run in a copy of the folder, first on their path."""
    job = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": {"working_dir": str(project)}})}
    command = ["longtake", "bulk", "prompts=prompts.txt", "out=dataset", "num_frames=8", "tracking.enabled=false"]
    subprocess.run([*command, *SMALL], cwd=project, env=environment | job, check=True)
    [video] = (project / "dataset" / "videos").rglob("*.mp4")
    assert frames(video) == 8


@pytest.mark.chaos
def test_the_endpoint_answers_with_a_video(installed, project, environment):
    command = ["longtake", "serve", "--port", "0", "serve.takes=takes", *SMALL]
    with subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), "the endpoint has not started"
            video = fetch(f"{url}/v1/videos", {"prompt": PROMPT, "num_frames": 8})
            (project / "served.mp4").write_bytes(fetch(f"{url}/v1/videos/{json.loads(video)['id']}/stream"))
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 130
    assert frames(project / "served.mp4") == 8


def fetch(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=300) as answer:
        return answer.read()
