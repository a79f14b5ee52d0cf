"""The three commands of a person with the published files, on small networks under the published names."""

import json

import pytest
import torch

from longtake.models.convert import streaming_t2v, vid2vid_xl
from longtake.models.video.reader import VideoReader
from longtake.pipelines.__main__ import main
from longtake.pipelines.config.bundle_file import NAME
from longtake.pipelines.config.conf import load
from longtake.pipelines.config.loader import flatten
from longtake.pipelines.config.provenance import video_settings
from tests.support import published

# The published sizes and steps take hours here. The VAE of these networks halves twice: heights are 8 plus 32 n.
SMALL = {
    "base.height": 16,
    "base.width": 32,
    "base.num_inference_steps": 2,
    "opener.num_inference_steps": 2,
}
SMALL_REFINER = {"refiner.height": 40, "refiner.width": 64, "refiner.num_inference_steps": 2}


def command(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """What both conversions write into one folder."""
    folder = tmp_path_factory.mktemp("published")
    nets = published.streaming_nets()
    base = published.write_pipeline(folder / "modelscope", nets)
    torch.save({"state_dict": nets.tensors()}, folder / "streaming_t2v.ckpt")
    torch.save(published.vid2vid_tensors(published.vid2vid_net()), folder / "non_ema_0035000.pth")
    out = folder / "bundle"
    first = ("--checkpoint", folder / "streaming_t2v.ckpt", "--base", base, "--out", out)
    assert command("convert", "streaming-t2v", *first) == 0
    second = ("--checkpoint", folder / "non_ema_0035000.pth", "--vae", base, "--text-encoder", base)
    assert command("convert", "vid2vid-xl", *second, "--out", out / "refiner") == 0
    return out


def test_every_default_that_a_conversion_writes_is_in_force(bundle):
    conf = load(overrides=[f"bundle={bundle}"])
    written = {**streaming_t2v.DEFAULTS, **vid2vid_xl.DEFAULTS}
    assert written.items() <= flatten(conf).items()
    assert conf.opener.model == "bundle" and written.items() <= video_settings(conf).items()
    assert set(vid2vid_xl.DEFAULTS) == {key for key in vid2vid_xl.DEFAULTS if key.startswith("refiner.")}


def test_the_check_finds_nothing_and_show_names_every_source(bundle, capsys):
    assert command("bundle", "check", bundle) == 0
    assert "no problem in" in capsys.readouterr().out
    assert command("bundle", "show", bundle, "--size", "1280x720") == 0
    said = capsys.readouterr().out
    for text in ("Vid2VidUNet", "opener/unet", "streaming_t2v.ckpt", "non_ema_0035000.pth", "CC BY-NC 4.0",
                 "heights multiples of 32 plus 8"):  # fmt: skip
        assert text in said, text


def test_a_video_is_made_without_a_flag(bundle, tmp_path, capsys):
    for folder, small in ((bundle, SMALL), (bundle / "refiner", SMALL_REFINER)):
        about = json.loads((folder / NAME).read_text())
        about["defaults"] |= small
        (folder / NAME).write_text(json.dumps(about))
    out = tmp_path / "out.mp4"
    done = command("generate", "a b", "--num-frames", 17, "--bundle", bundle, "--out", out)
    assert done == 0, capsys.readouterr().err
    with VideoReader(out) as video:
        assert (video.height, video.width, video.num_frames, video.fps) == (40, 64, 17, 8)
