"""The folders beside a checkpoint: what cannot be used is refused with its option, and nothing is written."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from longtake.pipelines.__main__ import main
from tests.support import published
from tests.support.pipelines import in_pieces


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, nets = tmp_path_factory.mktemp("made"), published.streaming_nets()
    published.write_pipeline(folder / "base", nets)
    torch.save(nets.tensors(), folder / "streaming_t2v.ckpt")
    torch.save(published.vid2vid_tensors(published.vid2vid_net()), folder / "non_ema_0035000.pth")
    return folder


@pytest.fixture
def base(made, tmp_path):
    return Path(shutil.copytree(made / "base", tmp_path / "base"))


@pytest.fixture
def refused(made, base, tmp_path, capsys):
    """Runs one of the conversions, which must be refused: exit code 2, one line, nothing written."""

    def run(name: str, **options: Path) -> str:
        file = {"streaming-t2v": "streaming_t2v.ckpt", "vid2vid-xl": "non_ema_0035000.pth"}[name]
        given = {"base": base} if name == "streaming-t2v" else {"vae": base, "text-encoder": base}
        words = {"checkpoint": made / file, **given, **options, "out": tmp_path / "out"}
        assert (
            main(["convert", name, *(word for key, value in words.items() for word in (f"--{key}", str(value)))]) == 2
        )
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if line.startswith("longtake:")]
        assert out == "" and len(lines) == 1 and os.listdir(tmp_path) == ["base"], err
        return lines[0]

    return run


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_base_that_is_no_pipeline(refused, base):
    assert "--base" in (said := refused("streaming-t2v", base=base / "unet")) and "no model_index.json" in said
    change(base / "model_index.json", vae=None)
    assert "is no text-to-video pipeline: it has no vae" in refused("streaming-t2v")


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"_class_name": "StableDiffusionPipeline"}, "its pipeline is a StableDiffusionPipeline, and must be a TextTo"),
        ({"_class_name": ["mine", "Mine"]}, "_class_name=['mine', 'Mine'] in model_index.json is code of its own"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "unet='UNet2DConditionModel' must be one of UNet3DCondition"),
        ({"vae": ["diffusers", "AutoencoderTiny"]}, "vae='AutoencoderTiny' must be one of AutoencoderKL"),
        ({"unet": ["longtake", "Vid2VidUNet"]}, "it is a UNet3DConditionModel in config.json, a Vid2VidUNet in model"),
    ],
)
def test_classes_that_are_not_supported(refused, base, monkeypatch, entries, says):
    monkeypatch.setattr("longtake.pipelines.convert.command.open_checkpoint", None)  # refused before any long work
    change(base / "model_index.json", **entries)
    assert f"--base={base} cannot be used: " in (said := refused("streaming-t2v")) and says in said


def test_the_published_refiners_unet_in_place_of_the_base(refused, base):
    change(base / "model_index.json", unet=["longtake", "Vid2VidUNet"])
    change(base / "unet" / "config.json", _class_name="Vid2VidUNet")
    assert "its unet is a Vid2VidUNet, and must be a UNet3DConditionModel" in refused("streaming-t2v")


def test_a_schedule_that_is_not_supported(refused, base):
    change(base / "scheduler" / "scheduler_config.json", beta_schedule="sigmoid")
    assert "cannot be sampled: beta_schedule='sigmoid' must be one of" in refused("streaming-t2v")


def test_weights_in_a_pickle_alone(refused, base):
    (base / "text_encoder" / "model.safetensors").rename(base / "text_encoder" / "pytorch_model.bin")
    said = refused("streaming-t2v")
    assert "pytorch_model.bin is a pickle, which is not opened" in said
    assert "save_pretrained of diffusers or transformers writes it so" in said
    assert "--text-encoder" in refused("vid2vid-xl")


def test_weights_that_are_cut_off(refused, base):
    file = base / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert f"{file} cannot be read" in refused("streaming-t2v") and f"{file} cannot be read" in refused("vid2vid-xl")


def test_weights_with_a_missing_piece(refused, base):
    in_pieces(base / "vae")
    next((base / "vae").glob("*-00002-of-*")).unlink()
    assert "is missing, a piece that" in (said := refused("streaming-t2v")) and f"--base={base / 'vae'}" in said


def test_a_base_of_another_size_than_the_checkpoint(refused, base):
    change(base / "unet" / "config.json", block_out_channels=[32, 64])
    said = refused("streaming-t2v")
    assert "does not fit --base=" in said and "expected (" in said and "more" in said
    change(base / "unet" / "config.json", norm_num_groups=7)
    assert "does not fit --base=" in refused("streaming-t2v")


@pytest.mark.parametrize(
    ("part", "key", "value", "rule"),
    [
        ("vae", "latent_channels", 16, "--vae={}: latent_channels=16 must be 4, as the refiner's in_channels"),
        ("vae", "_class_name", "AutoencoderTiny", "--vae={}: _class_name='AutoencoderTiny' must be AutoencoderKL"),
        ("text_encoder", "hidden_size", 768, "--text-encoder={}: hidden_size=768 must be 24, as the refiner's cross_"),
        ("text_encoder", "architectures", ["CLIPModel"], "--text-encoder={}: architectures=['CLIPModel'] must be one"),
    ],
)
def test_parts_that_do_not_fit_the_refiner(refused, base, part, key, value, rule):
    change(base / part / "config.json", **{key: value})
    assert rule.format(base / part) in refused("vid2vid-xl")


def test_folders_that_are_missing_or_have_no_tokenizer(refused, base, tmp_path):
    assert f"--vae={tmp_path / 'absent'} is no folder" in refused("vid2vid-xl", vae=tmp_path / "absent")
    shutil.rmtree(base / "tokenizer")
    assert "has no tokenizer, nor has a folder tokenizer beside it" in refused("vid2vid-xl")
