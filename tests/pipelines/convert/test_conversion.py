"""The work of a conversion: little memory, room on the disk, and a kill in the middle."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from longtake.pipelines.__main__ import main
from longtake.pipelines.convert import conversion
from tests.support import published
from tests.support.places import ROOT

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The checkpoint and the base folder."""
    folder, nets = tmp_path_factory.mktemp("sources"), published.streaming_nets()
    torch.save(nets.tensors(), folder / "streaming_t2v.ckpt")
    return folder / "streaming_t2v.ckpt", published.write_pipeline(folder / "base", nets)


def argv(sources, out: Path) -> list[str]:
    checkpoint, base = sources
    return ["convert", "streaming-t2v", "--checkpoint", str(checkpoint), "--base", str(base), "--out", str(out)]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_memory_is_that_of_one_tensor_whatever_the_size_of_the_file(tmp_path):
    """256 MiB in 8 tensors; also of the kind that is turned, which needs the tensor twice."""
    script = f"""
        import resource, torch
        from pathlib import Path
        from longtake.models.convert.placement import Part, Take
        from longtake.pipelines.convert.checkpoint import open_checkpoint
        from longtake.pipelines.convert.conversion import Conversion
        def peak():
            return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
        out, before = Path({str(tmp_path)!r}), peak()
        checkpoint = open_checkpoint(out / "big.ckpt")
        takes = {{name: Take(name, shape) for name, shape in checkpoint.shapes.items()}}
        takes["0"] = Take("0", checkpoint.shapes["0"][::-1], transposed=True)
        part = Part("unet", ("diffusers", "UNet3DConditionModel"), {{}}, takes)
        Conversion(out / "bundle", checkpoint, [part], [], {{}}, {{}}, {{}}, {{}}).run()
        print(peak() - before)
    """
    torch.save({str(i): torch.full((4096, 2048), float(i)) for i in range(8)}, tmp_path / "big.ckpt")
    run = [sys.executable, "-c", textwrap.dedent(script)]
    grown_mib = int(subprocess.run(run, cwd=ROOT, env=ENV, capture_output=True, text=True, check=True).stdout)
    assert (tmp_path / "bundle" / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size > 256 << 20
    print(f"{grown_mib} MiB more for 256 MiB in tensors of 32 MiB")
    assert grown_mib < 2 * 32 + 32, f"{grown_mib} MiB more"


def test_killed_in_the_middle_the_same_command_ends_right(sources, tmp_path):
    assert main(argv(sources, tmp_path / "expected")) == 0
    out = tmp_path / "killed" / "bundle"
    out.parent.mkdir()
    script = "import time\nfrom longtake.pipelines.convert import conversion as c\n"
    script += "from longtake.pipelines.__main__ import run\n"
    script += "add = c.Meter.add; c.Meter.add = lambda self, n: (time.sleep(.01), add(self, n)); run()"
    process = subprocess.Popen([sys.executable, "-c", script, *argv(sources, out)], cwd=ROOT, env=ENV)
    until = time.monotonic() + 120
    while not list(out.parent.glob(".bundle.part/new/cam/*.safetensors")):
        assert process.poll() is None and time.monotonic() < until, "it never began to write CAM"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(out.parent) == [".bundle.part"]
    assert main(argv(sources, out)) == 0
    assert os.listdir(out.parent) == ["bundle"] and digests(out) == digests(tmp_path / "expected")


def test_a_disk_without_room_is_refused_before_anything_is_written(sources, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda folder: Free())
    assert main(argv(sources, tmp_path / "bundle")) == 2
    assert "0.0 GB free" in capsys.readouterr().err and os.listdir(tmp_path) == []


class Free:
    free = 1000


def test_a_disk_that_gets_full_is_one_line_and_leaves_nothing(sources, tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        assert main(argv(sources, tmp_path / "bundle")) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("longtake:"))
    assert "File too large" in line and "unet/diffusion_pytorch_model.safetensors" in line
    assert os.listdir(tmp_path) == []
