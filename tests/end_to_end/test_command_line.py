"""The command line as a contract: files, output and exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtake.models.domain.plan import Plan
from longtake.models.video.mp4 import Mp4Encoder, decode
from longtake.pipelines import api
from longtake.pipelines.__main__ import main
from longtake.pipelines.files.video_file import VideoWriter
from longtake.pipelines.runners import stages
from tests.support.places import REPORTS, ROOT
from tests.support.toy import ToyBundle, ToyRefiner

PROMPT = "a red circle moves right"


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    """Toy weights in place of the bundle; everything else is real. Files go to a temporary folder."""
    build_bundle = stages.build_bundle
    for module in (stages, api):
        monkeypatch.setattr(
            module, "build_bundle", lambda conf: ToyBundle() if conf.bundle == "tiny" else build_bundle(conf)
        )
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(capsys):
    """Runs a command that must be refused: exit code 2, one line on stderr, no other output, no file."""

    def run(*argv: str, code: int = 2) -> str:
        before = set(Path().rglob("*"))
        assert main(argv) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("longtake: error: ") and err.count("\n") == 1, err
        assert set(Path().rglob("*")) == before
        return err

    return run


def frames_of(path: str) -> np.ndarray:
    return np.stack(list(decode(path)))


def write_video(path: str, frames: np.ndarray, fps: int = 12) -> None:
    encoder = Mp4Encoder(fps, frames.shape[2], frames.shape[1])
    Path(path).write_bytes(encoder.encode(frames))


@pytest.mark.parametrize("num_frames", [1, 17, 24, 25, 80])
def test_exactly_the_frames_asked_for_are_written(num_frames, capsys):
    assert main(["generate", PROMPT, "--num-frames", str(num_frames), "--out", "take.mp4"]) == 0
    out, err = capsys.readouterr()
    assert frames_of("take.mp4").shape == (num_frames, 128, 128, 3)
    assert out.startswith(f"take.mp4: {num_frames} frames of 128x128 in ") and "first segment after" in out
    assert "frames per second" in out
    assert err == ""
    assert os.listdir() == ["take.mp4"]


def test_preview_and_contact_sheet_are_kept_beside_the_video(capsys):
    argv = ["generate", PROMPT, "--num-frames", "30", "--out", "take.mp4", "--preview", "low.mp4"]
    assert main([*argv, "--contact-sheet", "sheet.png"]) == 0
    assert frames_of("low.mp4").shape == (30, 16, 16, 3)
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 300
    assert capsys.readouterr().out.splitlines()[1:] == ["low.mp4", "sheet.png"]


def test_the_same_command_gives_the_same_bytes_and_another_seed_others():
    for name, seed in (("a.mp4", "7"), ("b.mp4", "7"), ("c.mp4", "8")):
        assert main(["generate", PROMPT, "--num-frames", "20", "--seed", seed, "--out", name]) == 0
    a, b, c = (Path(name).read_bytes() for name in ("a.mp4", "b.mp4", "c.mp4"))
    assert a == b
    assert a != c


def test_a_video_has_one_plan(monkeypatch):
    plans, check = [], Plan.__post_init__
    monkeypatch.setattr(Plan, "__post_init__", lambda plan: plans.append(plan.num_frames) or check(plan))
    assert main(["generate", PROMPT, "--num-frames", "20", *OUT, "--prompt-at", "16", "a red circle"]) == 0
    assert main(["enhance", "take.mp4", "--prompt", PROMPT, "--out", "more.mp4"]) == 0
    assert plans == [20, 1, 20]  # the one of a frame checks the settings before the video is decoded


@pytest.mark.parametrize("coupling", ["symmetric", "causal"])
def test_settings_may_stand_anywhere_after_the_command(coupling):
    argv = ["generate", PROMPT, f"refiner.coupling={coupling}", "--out", "take.mp4", "refiner.height=32", "video.fps=5"]
    assert main([*argv, "--num-frames", "40", "refiner.steps_per_task=3"]) == 0
    assert frames_of("take.mp4").shape == (40, 32, 128, 3)


def test_a_config_file_is_read_and_an_override_wins(tmp_path):
    Path("mine.yaml").write_text("refiner:\n  height: 32\n  width: 32\n")
    argv = ["generate", PROMPT, "--num-frames", "1", "--out", "a.mp4", "--config", "mine.yaml", "refiner.width=64"]
    assert main(argv) == 0
    assert frames_of("a.mp4").shape == (1, 32, 64, 3)


def test_unknown_words_are_named_once_in_a_warning(capsys):
    argv = [
        "generate",
        "a purple circle moves purple",
        "--negative-prompt",
        "ugly",
        "--num-frames",
        "1",
        "--out",
        "a.mp4",
    ]
    assert main(argv) == 0
    assert capsys.readouterr().err.endswith(" the bundle does not know these words: purple, ugly\n")


def test_unknown_words_of_all_prompts_are_named(capsys):
    argv = ["generate", PROMPT, "--num-frames", "40", "--out", "a.mp4", "--negative-prompt", "ugly"]
    assert main([*argv, "--prompt-at", "32", "a purple circle", "--prompt-at", "16", "a lilac circle"]) == 0
    assert capsys.readouterr().err.endswith(" the bundle does not know these words: lilac, purple, ugly\n")


def test_a_prompt_that_shows_in_no_frame_is_a_warning(capsys):
    argv = ["generate", PROMPT, "--num-frames", "40", "--out", "a.mp4", "--prompt-at", "33", "a red circle"]
    assert main(argv) == 0
    says = "--prompt-at 33 has no effect: no chunk begins before the next prompt or the end"
    assert capsys.readouterr().err.endswith(f" {says}\n")


def test_enhance_keeps_length_and_rate_and_refines_to_the_size_asked_for(capsys):
    write_video("in.mp4", np.random.default_rng(0).integers(0, 255, (30, 32, 32, 3), np.uint8))
    assert main(["enhance", "in.mp4", "--prompt", PROMPT, "--out", "out.mp4", "--contact-sheet", "s.png"]) == 0
    assert frames_of("out.mp4").shape == (30, 128, 128, 3)
    assert capsys.readouterr().err == ""


def test_a_video_that_begins_with_a_picture(capsys):
    Image.fromarray(np.full((40, 60, 4), 200, np.uint8), "RGBA").save("photo.png")
    assert main(["generate", PROMPT, "--num-frames", "20", "--image", "photo.png", "--out", "take.mp4"]) == 0
    assert frames_of("take.mp4").shape == (20, 128, 128, 3)
    assert capsys.readouterr().err.endswith("photo.png: it is transparent: white shows through\n")


def test_extend_writes_the_frames_of_the_video_and_then_new_ones(capsys):
    frames = np.repeat(np.random.default_rng(0).integers(0, 255, (30, 1, 1, 3), np.uint8), 64, 1).repeat(64, 2)
    write_video("in.mp4", frames)
    assert main(["extend", "in.mp4", "--prompt", PROMPT, "--num-frames", "10", "--out", "out.mp4"]) == 0
    longer = frames_of("out.mp4")
    assert longer.shape == (40, 64, 64, 3) and np.abs(longer[:30].astype(int) - frames_of("in.mp4")).max() < 4
    out, err = capsys.readouterr()
    assert out.startswith("out.mp4: 40 frames of 64x64 in ") and err == ""


def test_extend_says_what_becomes_of_sound_and_shape(capsys):
    source = REPORTS / "with_audio.mp4"
    assert main(["extend", str(source), "--prompt", PROMPT, "--num-frames", "8", "--out", "out.mp4"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "its new frames are made at 128x128 and stretched to" in lines[0]
    assert lines[1].endswith("its sound ends with it: the 8 new frames are silent")


OUT = ("--out", "take.mp4")


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        (
            "cover",
            "in.mp4: 64x32 fills 128x128: 32 of its 64 columns are cut off, half at each end (refiner.fit=contain",
        ),
        ("contain", "in.mp4: 64x32 is refined at 128x64, with black bars around it up to 128x128 (refiner.fit=cover"),
        ("stretch", "in.mp4: 64x32 is stretched to 128x128 (refiner.fit=cover cuts, contain adds bars)"),
    ],
)
def test_enhance_says_what_happens_to_another_shape(capsys, fit, says):
    write_video("in.mp4", np.zeros((3, 32, 64, 3), np.uint8))
    assert main(["enhance", "in.mp4", "--prompt", PROMPT, "--out", "out.mp4", f"refiner.fit={fit}"]) == 0
    assert says in capsys.readouterr().err


def test_generate_says_what_happens_to_another_shape(capsys):
    assert main(["generate", PROMPT, "--num-frames", "3", *OUT, "refiner.width=256"]) == 0
    assert "the base model's 64x64 fills 256x128: 32 of its 64 rows are cut off" in capsys.readouterr().err


@pytest.mark.report("B11", "B15")
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "COMMAND"),
        (("generate",), "PROMPT, --out"),
        (("generate", PROMPT), "--out"),
        (("generate", "", *OUT), "prompt=''"),
        (("generate", "  \n ", *OUT), "must not be empty or blank"),
        (("generate", "a " * 23, *OUT), "prompt has 23 tokens: at most 22"),
        (("generate", "a", "--negative-prompt", "a " * 23, *OUT), "23 tokens"),
        (("generate", "a", "red", "circle", *OUT), "a prompt of several words needs quotes"),
        (("generate", PROMPT, "--num-frames", "0", *OUT), "num_frames=0: a video has at least 1 frame"),
        (("generate", PROMPT, "--num-frames", "-3", *OUT), "num_frames=-3"),
        (("generate", PROMPT, "--num-frames", "many", *OUT), "--num-frames: 'many' is not a whole number"),
        (("generate", PROMPT, "--num-frames", "2.5", *OUT), "--num-frames: '2.5' is not a whole number"),
        (("generate", PROMPT, "--prompt-at", "x", "a", *OUT), "--prompt-at: 'x' is not a whole number"),
        (("generate", PROMPT, "--prompt-at", "8", *OUT), "--prompt-at: expected 2 arguments"),
        (("generate", PROMPT, "--prompt-at", "0", "a", *OUT), "--prompt-at 0: from_frame=0: a later prompt begins at"),
        (("generate", PROMPT, "--prompt-at", "-8", "a", *OUT), "--prompt-at -8: from_frame=-8"),
        (("generate", PROMPT, "--prompt-at", "8", " ", *OUT), "--prompt-at 8: prompt=' ': must not be empty"),
        (("generate", PROMPT, "--prompt-at", "80", "a", *OUT), "from_frame=80: the video ends before it, at 80"),
        (
            ("generate", PROMPT, "--prompt-at", "8", "a", "--prompt-at", "8", "b", *OUT),
            "from_frame=8: must be later",
        ),
        (("generate", PROMPT, "--prompt-at", "8", "a " * 23, *OUT), "prompt has 23 tokens: at most 22"),
        (
            ("enhance", "in.mp4", "--prompt", PROMPT, "--prompt-at", "8", "a", *OUT),
            "'--prompt-at' is neither an option",
        ),
        (("generate", PROMPT, "--seed", "-1", *OUT), "seed=-1"),
        (("generate", PROMPT, "--seed", str(2**63), *OUT), "less than 2**63"),
        (("generate", PROMPT, "--fps", "0", *OUT), "video.fps=0 must be between 1 and 240"),
        (
            ("generate", PROMPT, "--runner", "slurm", *OUT),
            "--runner: invalid choice: 'slurm' (choose from 'local', 'ray')",
        ),
        (("generate", PROMPT, "--outt", "x.mp4", *OUT), "'--outt' is neither an option"),
        (("generate", PROMPT, "--num", "3", *OUT), "'--num' is neither an option"),
        (("generate", PROMPT, "--out", "take.avi"), "out=take.avi must end in .mp4"),
        (("generate", PROMPT, "--out", "."), "out=. is a folder"),
        (("generate", PROMPT, "--out", ""), "--out: it is empty"),
        (("generate", PROMPT, *OUT, "--bundle", ""), "--bundle: it is empty"),
        (("generate", PROMPT, *OUT, "--config", " "), "--config: it is empty"),
        (("generate", PROMPT, *OUT, "--preview", ""), "--preview: it is empty"),
        (("generate", PROMPT, *OUT, "bundle="), "bundle= is empty: it needs a value"),
        (("enhance", "", "--prompt", PROMPT, *OUT), "VIDEO: it is empty"),
        (("regenerate", "a", "--manifest", "", *OUT), "--manifest: it is empty"),
        (("bulk", "prompts=p.txt", "out="), "out= is empty: it needs a value"),
        (("bulk", "prompts=", "out=o"), "prompts= is empty: it needs a value"),
        (("bulk", "prompts=p.txt", "out=o", "num_frames="), "num_frames= is empty"),
        (("bulk", "prompts=p.txt", "out=o", "tracking.uri="), "tracking.uri= is empty: it needs a value, or null"),
        (("serve", "serve.takes="), "serve.takes= is empty"),
        (("serve", "--host", ""), "--host: it is empty"),
        (("serve", "serve.cors_origins=['']"), "serve.cors_origins=[''] has an empty item"),
        (("evaluate", "manifest=", "out=o"), "manifest= is empty"),
        (("evaluate", "manifest=m", "out=", "clip=null"), "out= is empty"),
        (("evaluate", "--compare", "a", "b", "out="), "out= is empty"),
        (("evaluate", "--compare", "a", "", "out=o"), "--compare: it is empty"),
        (("train", "manifest=m", "out="), "out= is empty"),
        (("train", "manifest=m", "out=o", "work="), "work= is empty"),
        (("ablate", "out="), "out= is empty"),
        (
            ("generate", PROMPT, *OUT, "--image", "nowhere.png"),
            "--image nowhere.png: it cannot be read as a picture (No",
        ),
        (("generate", PROMPT, *OUT, "--image", ""), "--image: it is empty"),
        (("extend", "nowhere.mp4", "--prompt", PROMPT, *OUT), "nowhere.mp4"),
        (("extend", "in.mp4", "--prompt", PROMPT, "--num-frames", "0", *OUT), "num_frames=0"),
        (("extend", "in.mp4", "--prompt", PROMPT, *OUT, "refiner.coupling=symmetric"), "has no effect here"),
        (("extend", "in.mp4", "--prompt", PROMPT, *OUT, "opener.model=x"), "has no effect here"),
        (("extend", "in.mp4", "--prompt", PROMPT, *OUT, "ray.base.num_actors=2"), "add --runner ray"),
        (("generate", PROMPT, *OUT, "ray.base.num_actors=2"), "ray.base.num_actors=2 has no effect here"),
        (("enhance", "in.mp4", "--prompt", PROMPT, *OUT, "base.guidance_scale=2"), "has no effect here"),
        (("bulk", "prompts=p.txt", "out=o", "ray.writer.num_gpus=1"), "ray.writer.num_gpus=1 has no effect"),
        (("bulk", "prompts=p.txt", "out=o", "device=cuda", "num_threads=2"), "num_threads=2 has no effect with"),
        (("plan", "refiner.strength=0.5"), "refiner.strength=0.5 has no effect here"),
        (("evaluate", "manifest=m", "out=o", "ray.base.num_actors=2"), "num_workers=N sets"),
        (("bulk", "prompts=p.txt", "out=o", "quality.on_failure=reseed"), "quality.on_failure=reseed has no effect"),
        (("bulk", "prompts=p.txt", "out=o", "shard_size=5"), "shard_size=5 has no effect with format=mp4"),
        (
            ("bulk", "prompts=p.txt", "out=o", "tracking.enabled=false", "tracking.name=x"),
            "tracking.name=x has no effect with tracking.enabled=false",
        ),
        (("generate", PROMPT, "--out", "nowhere/take.mp4"), "out=nowhere/take.mp4: there is no folder nowhere"),
        (("generate", PROMPT, *OUT, "--preview", "take.mp4"), "preview=take.mp4 is also out"),
        (("generate", PROMPT, *OUT, "--preview", "./x/../take.mp4"), "preview="),
        (("generate", PROMPT, *OUT, "--contact-sheet", "sheet.gif"), "must end in .png or .jpg or .jpeg"),
        (("generate", PROMPT, *OUT, "--bundle", "nowhere"), "nowhere"),
        (("generate", PROMPT, *OUT, "--config", "none.yaml"), "config=none.yaml cannot be read: No such file"),
        (("generate", PROMPT, *OUT, "refiner.num_inference_step=4"), "did you mean refiner.num_inference_steps?"),
        (("generate", PROMPT, *OUT, "refiner.num_inference_steps=x"), "must be a whole number, not text"),
        (("generate", PROMPT, *OUT, "refiner.num_inference_steps=0"), "refiner.num_inference_steps=0"),
        (("generate", PROMPT, *OUT, "refiner.coupling=loose"), "must be one of symmetric, causal"),
        (("generate", PROMPT, *OUT, "refiner.strength=2"), "refiner.strength=2.0"),
        (
            ("generate", PROMPT, *OUT, "refiner.height=100"),
            "height=100 must be a multiple of 8, such as 96 or 104",
        ),
        (("generate", PROMPT, *OUT, "plan.overlap_frames=20"), "plan.overlap_frames=20"),
        (("generate", PROMPT, *OUT, "scheduler.lookahead_frames=8"), "lookahead_frames=8"),
        (("enhance", "nowhere.mp4", "--prompt", PROMPT, *OUT), "nowhere.mp4"),
        (("enhance", ".", "--prompt", PROMPT, *OUT), "."),
        (("enhance", "in.mp4", *OUT), "--prompt"),
        (("plan", "--num-frames", "0"), "num_frames=0"),
        (("plan", "plan.chunk_frames=0"), "plan.chunk_frames=0"),
        (("bulk",), "prompts is missing: it has no default"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(refused, argv, says):
    assert says in refused(*argv)


def test_a_prompt_may_start_with_a_dash_after_two():
    assert main(["generate", "--num-frames", "1", *OUT, "--", "-red circle"]) == 0


def test_an_unreadable_video_is_refused(refused):
    Path("text.mp4").write_text("not a video")
    Path("empty.mp4").write_bytes(b"")
    for name in ("text.mp4", "empty.mp4"):
        assert name in refused("enhance", name, "--prompt", PROMPT, *OUT)


def test_the_video_that_is_read_is_never_overwritten(refused):
    write_video("in.mp4", np.zeros((3, 32, 32, 3), np.uint8))
    assert "out=in.mp4 is also the video that is read" in refused(
        "enhance", "in.mp4", "--prompt", PROMPT, "--out", "in.mp4"
    )


def test_a_failure_of_ours_is_one_line_and_exit_code_1(refused, monkeypatch):
    monkeypatch.setattr("tests.support.toy.ToyRefiner.advance", lambda *_: 1 / 0)
    assert "ZeroDivisionError: division by zero" in refused("generate", PROMPT, *OUT, code=1)


def test_a_value_error_while_a_model_runs_is_ours_too(refused, monkeypatch):
    monkeypatch.setattr("tests.support.toy.ToyRefiner.advance", lambda *_: int("x"))
    assert "invalid literal" in refused("generate", PROMPT, *OUT, code=1)


def test_debug_shows_where_an_error_came_from(capsys):
    assert main(["generate", PROMPT, *OUT, "--debug", "--num-frames", "0"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_said_and_leaves_no_file(refused, full_disk):
    assert "take.mp4" in refused("generate", PROMPT, *OUT, code=1)


@pytest.fixture
def strike(monkeypatch):
    """Sends a signal to this process during the n-th call of a method, like Ctrl-C or kill."""

    def install(owner: type, method: str, call: int, sent: signal.Signals) -> None:
        original, calls = getattr(owner, method), count(1)

        def struck(self: object, *args: object) -> object:
            if next(calls) == call:
                signal.raise_signal(sent)
            return original(self, *args)

        monkeypatch.setattr(owner, method, struck)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a background job SIGINT is ignored
    yield install
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("owner", "method", "call", "num_frames"),
    [(ToyRefiner, "advance", 40, 48), (VideoWriter, "write", 3, 48), (Mp4Encoder, "encode", 2, 32)],
)
def test_a_stopped_run_leaves_whole_segments_that_play(strike, capsys, sent, code, owner, method, call, num_frames):
    strike(owner, method, call, sent)
    argv = ["generate", PROMPT, "--num-frames", "400", "--out", "take.mp4", "--contact-sheet", "s.png"]
    assert main([*argv, "refiner.num_inference_steps=10", "refiner.coupling=causal"]) == code
    assert capsys.readouterr().err == f"longtake: stopped: take.mp4 holds the first {num_frames} of 400 frames\n"
    assert len(frames_of("take.mp4")) == num_frames
    assert os.listdir() == ["take.mp4"]


def test_a_run_stopped_before_its_first_segment_leaves_nothing(strike, capsys):
    strike(ToyRefiner, "advance", 1, signal.SIGINT)
    assert main(["generate", PROMPT, "--out", "take.mp4", "--preview", "low.mp4"]) == 130
    assert capsys.readouterr().err == "longtake: stopped\n"
    assert "take.mp4" not in os.listdir()


KEY = "refiner.no_such_key=1"
CHEAP = (
    ("--help",),
    ("generate", "", *OUT),
    ("generate", PROMPT, *OUT, KEY),
    ("generate", PROMPT, *OUT, "--config", "missing.yaml"),
    ("generate", PROMPT, *OUT, "--bundle", "missing"),
    ("generate", PROMPT, *OUT, "--runner", "ray", "--bundle", "missing"),
    ("generate", PROMPT, *OUT, "refiner.height=100"),
    ("generate", PROMPT, *OUT, "base.num_inference_steps=5000"),
    ("generate", PROMPT, *OUT, "scheduler.lookahead_frames=8"),
    ("enhance", "missing.mp4", "--prompt", PROMPT, *OUT),
    ("plan", "--num-frames", "0"),
    ("bulk", "prompts=missing.txt", "out=out", KEY),
    ("bulk", "prompts=missing.txt", "out=out"),
    ("bulk", "prompts=missing.txt", "out=out", "bundle=missing"),
    ("regenerate", "a", "--manifest", "missing", *OUT),
    ("serve", KEY),
    ("serve", "bundle=missing"),
    ("evaluate", "manifest=missing", "out=out", "no_such_key=1"),
    ("evaluate", "manifest=missing", "out=out"),
    ("evaluate", "--compare", "missing", "other", "out=out"),
    ("train", "manifest=missing", "out=out", KEY),
    ("train", "manifest=missing", "out=out"),
    ("train", "manifest=missing", "out=out", "bundle=missing"),
    ("ablate", "out=out", KEY),
    ("ablate", "out=out", "prompts=missing.txt"),
    ("ablate", "out=out", "bundle=missing"),
    ("ablate", "out=other_page"),
)


def test_help_and_refusals_come_without_loading_anything_heavy():
    """Half a second of CPU instead of six: measured by the modules that are loaded, since clocks vary."""
    Path("other_page").mkdir()
    Path("other_page/ablations.md").write_text("a page without markers")
    script = """
import json, sys
from longtake.pipelines.__main__ import main
for argv in json.loads(sys.argv[1]):
    try:
        code = main(argv)
    except SystemExit as end:
        code = end.code
    heavy = [name for name in ("torch", "diffusers", "transformers", "ray", "mlflow") if name in sys.modules]
    print(json.dumps([argv, code, heavy]), file=sys.stderr)
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", script, json.dumps(CHEAP)]
    ran = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("[")]
    assert found == [[list(argv), 0 if argv == ("--help",) else 2, []] for argv in CHEAP]


def shell(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command line of bash in which `longtake` is the program."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "PY": sys.executable, **env}
    text = f'set -o pipefail; longtake() {{ "$PY" -m longtake.pipelines "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", text], env=given, capture_output=True, text=True, timeout=60)


@pytest.mark.report("C18")
@pytest.mark.parametrize(
    ("command", "code", "lines"),
    [
        ("longtake plan | head -1", 0, 0),
        ("longtake plan >&-", 0, 0),
        ("longtake --help | head -1", 0, 0),
        ("longtake plan >/dev/full", 1, 1),
        ("longtake --help >/dev/full", 1, 1),
        ("longtake plan --nope 2>&-", 2, 0),
        ("PYTHONIOENCODING=ascii longtake generate a --out \u4e2d/x.mp4", 2, 1),
    ],
)
def test_output_that_nobody_reads_or_can_show_raises_nothing(command, code, lines):
    ran = shell(command)
    assert ran.returncode == code and ran.stderr.count("\n") == lines and "Traceback" not in ran.stderr, ran.stderr


@pytest.mark.report("B9")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_arguments_are_checked_is_one_line(sent, code):
    """The settings come from a pipe that never ends."""
    os.mkfifo("pipe.yaml")
    command = [sys.executable, "-m", "longtake.pipelines", "plan", "--config", "pipe.yaml"]
    # In a session of its own Ctrl-C is not ignored, as it is in a background job.
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    with open("pipe.yaml", "w"):  # opens when it does
        time.sleep(0.2)  # a signal just before the system's read() would be seen only after it
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "longtake: stopped\n")
