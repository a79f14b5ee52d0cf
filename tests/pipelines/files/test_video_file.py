import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import longtake.pipelines.files.video_file
from longtake.models.video.mp4 import decode
from longtake.models.video.reader import VideoReader
from longtake.models.video.sound import Sound
from longtake.pipelines.files.video_file import VideoWriter
from tests.support.places import REPORTS, ROOT

# Noise is what does not compress: 8 fragments of some 20 kB each, on a disk that takes 60 kB.
FULL_DISK = """
import resource, sys, numpy as np
from longtake.pipelines.files.video_file import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
noise = np.random.default_rng(0).integers(0, 256, (8, 4, 64, 64, 3), dtype=np.uint8)
try:
    with VideoWriter(sys.argv[1], fps=8, keep_partial=True) as writer:
        for frames in noise:
            writer.write(frames)
except OSError as error:
    print(error.filename, error)
"""

STOPPED = """
import signal, sys, time, numpy as np
from longtake.pipelines.files.video_file import VideoWriter
signal.signal(signal.SIGINT, signal.default_int_handler)  # of a job in the background it is ignored
with VideoWriter(sys.argv[1], fps=8, keep_partial=sys.argv[2] == "keep") as writer:
    for _ in range(3):
        writer.write(np.zeros((8, 32, 32, 3), np.uint8))
    print("written", flush=True)
    time.sleep(60)
"""


def _frames(t: int) -> np.ndarray:
    return np.random.default_rng(t).integers(0, 256, (t, 16, 16, 3), dtype=np.uint8)


def _num_frames(path: Path) -> int:
    return sum(1 for _ in decode(path))


def _run(program: str, *args: object) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_file_appears_when_it_is_whole_and_not_before(tmp_path):
    out = tmp_path / "take.mp4"
    with VideoWriter(out, fps=8) as writer:
        for size in (16, 16, 1):
            writer.write(_frames(size))
            assert not out.exists()
        assert writer.num_frames == 33
    assert _num_frames(out) == 33
    assert os.listdir(tmp_path) == ["take.mp4"]


def test_the_file_that_was_there_stays_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "take.mp4"
    out.write_bytes(b"old")
    with VideoWriter(out, fps=8) as writer:
        writer.write(_frames(4))
        assert out.read_bytes() == b"old"
    assert _num_frames(out) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_after_an_exception_nothing_is_left(tmp_path, error):
    with pytest.raises(error), VideoWriter(tmp_path / "take.mp4", fps=8) as writer:
        writer.write(_frames(16))
        raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_with_keep_partial_the_video_so_far_plays(tmp_path, error):
    out = tmp_path / "take.mp4"
    with pytest.raises(error), VideoWriter(out, fps=8, keep_partial=True) as writer:
        writer.write(_frames(16))
        writer.write(_frames(8))
        raise error
    assert os.listdir(tmp_path) == ["take.mp4"]
    assert _num_frames(out) == 24


@pytest.mark.report("C4")
def test_with_keep_partial_the_sound_ends_with_the_video_so_far(tmp_path):
    out, reader = tmp_path / "take.mp4", VideoReader(REPORTS / "with_audio.mp4")
    writer = VideoWriter(out, reader.fps, keep_partial=True, sound=Sound(reader, reader.fps))
    with pytest.raises(KeyboardInterrupt), writer:
        writer.write(_frames(12))
        raise KeyboardInterrupt
    with av.open(str(out)) as container:
        lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert lengths == pytest.approx([0.5, 0.5], abs=0.03)


@pytest.mark.report("C4")
def test_sound_that_breaks_costs_the_sound_and_never_the_video(tmp_path):
    source = tmp_path / "in.mp4"
    source.write_bytes((REPORTS / "with_audio.mp4").read_bytes())
    reader = VideoReader(source)
    sound = Sound(reader, reader.fps)
    with VideoWriter(tmp_path / "take.mp4", reader.fps, sound=sound) as writer:
        writer.write(_frames(24))
        source.unlink()
    assert _num_frames(tmp_path / "take.mp4") == 24
    assert sound.notes == [] and writer.notes[0].startswith("its sound is left out: ")


def test_with_keep_partial_an_exception_before_the_first_frame_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "take.mp4", fps=8, keep_partial=True):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("keep", "left"), [("keep", ["take.mp4"]), ("drop", [])])
def test_ctrl_c_leaves_a_video_that_plays_or_nothing(tmp_path, keep, left):
    process = _run(STOPPED, tmp_path / "take.mp4", keep)
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert os.listdir(tmp_path) == left
    assert all(_num_frames(tmp_path / name) == 24 for name in left)


def test_a_full_disk_is_one_clear_error_at_the_segment_that_does_not_fit_and_leaves_nothing(tmp_path):
    out, err = _run(FULL_DISK, tmp_path / "take.mp4").communicate(timeout=60)
    assert err == "" and 0 < int(re.search(r"after (\d+) frames", out)[1]) < 32
    assert out.startswith(str(tmp_path / "take.mp4")) and "cannot write" in out and "nothing is left behind" in out
    assert os.listdir(tmp_path) == []


def test_a_disk_that_is_full_at_the_very_end_is_noticed(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(longtake.pipelines.files.video_file.os, "fsync", full)
    expected = pytest.raises(OSError, match="No space left on device")
    with expected as caught, VideoWriter(tmp_path / "take.mp4", fps=8) as writer:
        writer.write(_frames(4))
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_what_a_killed_writer_left_plays_and_is_overwritten(tmp_path):
    out = tmp_path / "take.mp4"
    process = _run(STOPPED, out, "keep")
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    process.kill()
    process.wait(30)
    assert os.listdir(tmp_path) == [".take.mp4.part"]
    assert _num_frames(tmp_path / ".take.mp4.part") == 24
    with VideoWriter(out, fps=8) as writer:
        writer.write(_frames(4))
    assert os.listdir(tmp_path) == ["take.mp4"] and _num_frames(out) == 4


def test_two_writers_of_one_video_do_not_mix(tmp_path):
    out = tmp_path / "take.mp4"
    with VideoWriter(out, fps=8) as writer:
        with pytest.raises(FileExistsError, match="another process is writing"):
            VideoWriter(out, fps=8)
        writer.write(_frames(4))
    assert _num_frames(out) == 4


def test_a_video_without_frames_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="num_frames=0"), VideoWriter(tmp_path / "take.mp4", fps=8):
        pass
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_known_before_the_first_frame(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        VideoWriter(tmp_path / "folder.mp4", fps=8)
    with pytest.raises(FileNotFoundError, match="cannot write"):
        VideoWriter(tmp_path / "none" / "take.mp4", fps=8)
    with pytest.raises(ValueError, match=r"\.mp4"):
        VideoWriter(tmp_path / "take.webm", fps=8)


def test_the_file_is_readable_by_whom_the_umask_allows(tmp_path):
    mask = os.umask(0o022)
    try:
        with VideoWriter(tmp_path / "take.mp4", fps=8) as writer:
            writer.write(_frames(1))
    finally:
        os.umask(mask)
    assert (tmp_path / "take.mp4").stat().st_mode & 0o777 == 0o644
