"""`longtake enhance` on files as people bring them, with a bundle that only enlarges."""

from pathlib import Path

import av
import numpy as np
import pytest

from longtake.models.video.mp4 import decode
from longtake.pipelines.__main__ import main
from longtake.pipelines.runners import stages
from tests.support.places import REPORTS
from tests.support.toy import ToyBundle

PROMPT = "a red circle moves right"
SMALL = ("refiner.width=32", "refiner.height=32")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "build_bundle", lambda conf: ToyBundle())
    monkeypatch.chdir(tmp_path)


def enhanced(capsys, source: str | Path, *more: str) -> tuple[np.ndarray, list[str]]:
    """The frames of an enhanced video, and the warnings without their times."""
    assert main(["enhance", str(source), "--prompt", PROMPT, "--out", "out.mp4", *more]) == 0
    warnings = [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()]
    return np.stack(list(decode("out.mp4"))), warnings


@pytest.mark.report("C1", "C2")
@pytest.mark.parametrize(("name", "seconds"), [("screen_recorder.webm", 23.8), ("screen_vfr.mp4", 6.0)])
def test_enhance_keeps_the_times_of_a_recording_and_says_what_it_repeats(capsys, name, seconds):
    frames, warnings = enhanced(capsys, REPORTS / name, *SMALL)
    with av.open("out.mp4") as container:
        rate = container.streams.video[0].average_rate
    assert abs(len(frames) / rate - seconds) < 1
    assert warnings[0].startswith(f"{REPORTS / name}: its frame rate varies: at ")


@pytest.mark.report("C3")
def test_enhance_reads_and_writes_any_name(capsys):
    name = "2022-01-26T20:57:04Z.mkv"
    Path(name).write_bytes((REPORTS / "names" / name).read_bytes())
    for given in (name, f"./{name}"):
        assert len(enhanced(capsys, given)[0]) == 24
    assert main(["enhance", name, "--prompt", PROMPT, "--out", "file:%03d.mp4"]) == 0
    assert len(list(decode("file:%03d.mp4"))) == 24


@pytest.mark.report("C4")
def test_enhance_keeps_the_sound_or_names_it(capsys):
    def kinds() -> list[str]:
        with av.open("out.mp4") as container:
            return [stream.type for stream in container.streams]

    shape = ("refiner.width=128", "refiner.height=96")
    assert enhanced(capsys, REPORTS / "with_audio.mp4", *shape)[1] == [] and kinds() == ["video", "audio"]
    _, warnings = enhanced(capsys, REPORTS / "with_audio.mp4", "--fps", "12", *shape)
    says = "its sound is left out: aac, because the output is not at its 24 fps"
    assert warnings == [f"{REPORTS / 'with_audio.mp4'}: {says}"] and kinds() == ["video"]


@pytest.mark.report("C5")
def test_enhance_speaks_of_the_shape_that_people_see(capsys):
    _, warnings = enhanced(capsys, REPORTS / "anamorphic_dvd.mp4", "refiner.width=144", "refiner.height=96")
    assert "213x120 fills 144x96: 32.6 of its 213 columns are cut off" in warnings[1]
    stretched = ("refiner.width=224", "refiner.height=128", "refiner.fit=stretch")
    _, (pixels, shape) = enhanced(capsys, REPORTS / "anamorphic_dvd.mp4", *stretched)
    assert "its pixels are not square" in pixels and "213x120" in shape and "224x128" in shape


@pytest.mark.report("C6", "C7", "C21")
def test_enhance_says_what_it_converts_or_leaves_out_in_one_line_each(capsys):
    _, warnings = enhanced(capsys, REPORTS / "sticker.webm")
    assert warnings == [f"{REPORTS / 'sticker.webm'}: it is transparent: white shows through"]
    _, warnings = enhanced(capsys, REPORTS / "hdr10.mp4", "refiner.width=128", "refiner.height=96")
    assert warnings == [f"{REPORTS / 'hdr10.mp4'}: its colours are converted: smpte2084, bt2020 to SDR in BT.709"]
    data = (REPORTS / "clips" / "dvd.vob").read_bytes()
    Path("half.vob").write_bytes(data[: len(data) // 2])
    assert len(enhanced(capsys, "half.vob")[0]) > 0
