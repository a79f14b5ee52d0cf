"""Both conversions by the real command: what was saved under the published names computes the same from the bundle."""

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from longtake.models.diffusion.schedule import NoiseSchedule
from longtake.models.nets.conditioned import control_context, denoise, encode_condition, video_context
from longtake.models.nets.image import CLIP_MEAN, CLIP_STD, embed_images
from longtake.models.stages.bundle import load_bundle
from longtake.pipelines.__main__ import main
from longtake.pipelines.convert import safetensors_files
from tests.support import published
from tests.support.tiny_nets import randn

T = torch.tensor(500)


@pytest.fixture(scope="module")
def nets():
    return published.streaming_nets()


@pytest.fixture(scope="module")
def base(nets, tmp_path_factory):
    folder = published.write_pipeline(tmp_path_factory.mktemp("base") / "modelscope", nets)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    return folder


@pytest.fixture(scope="module")
def checkpoint(nets, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "streaming_t2v.ckpt"
    torch.save({"state_dict": nets.tensors(), "global_step": 7}, path)
    return path


def convert(checkpoint, base, out) -> int:
    return main(["convert", "streaming-t2v", "--checkpoint", str(checkpoint), "--base", str(base), "--out", str(out)])


@pytest.fixture(scope="module")
def bundle(checkpoint, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted") / "bundle"
    assert convert(checkpoint, base, out) == 0
    return out


@pytest.fixture(scope="module")
def loaded(bundle):
    return load_bundle(bundle, required=("unet", "cam", "apm", "image_encoder", "text_encoder", "vae"))


@torch.no_grad()
def test_unet_cam_and_apm_compute_what_they_did(nets, loaded):
    text, images = randn(2, published.TEXT_TOKENS, published.TEXT_DIM), randn(2, published.IMAGE_DIM, seed=2)
    frames, x = randn(2, 2, 3, 16, 16, seed=3).clamp(-1, 1), randn(2, 4, 5, 4, 4, seed=4)

    def predict(unet, cam, apm):
        context = video_context(unet, apm, text, images)
        return denoise(unet, x, T, context, cam, encode_condition(cam, frames), control_context(cam, text))

    ours = predict(*(loaded.parts[name] for name in ("unet", "cam", "apm")))
    assert torch.equal(ours, predict(nets.unet, nets.cam, nets.apm))


@torch.no_grad()
def test_text_encoder_and_vae_compute_what_they_did(nets, loaded):
    ids = torch.tensor([[6, 0, 4, 2, 7]])
    hidden = [encoder(input_ids=ids).last_hidden_state for encoder in (nets.text_encoder, loaded.parts["text_encoder"])]
    assert torch.equal(*hidden)
    latents = randn(1, 4, 4, 4)
    assert torch.equal(*(vae.decode(latents).sample for vae in (nets.vae, loaded.parts["vae"])))


@torch.no_grad()
def test_the_image_encoder_computes_what_open_clips_tower_does(nets, loaded):
    """From frames in [-1, 1] on: kornia's bicubic with align_corners, then CLIP's mean and deviation."""
    images = randn(3, 3, 32, 32, seed=5).clamp(-1, 1)
    small = torch.nn.functional.interpolate(images, (28, 28), mode="bicubic", align_corners=True)
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    expected = nets.image_encoder(((small + 1) / 2 - mean) / std)
    torch.testing.assert_close(embed_images(loaded.parts["image_encoder"], images), expected, atol=1e-5, rtol=1e-5)


def test_every_tensor_is_placed_or_named_with_a_reason(nets, bundle):
    record = json.loads((bundle / "bundle.json").read_text())
    assert [entry["tensor"] for entry in record["left_out"]] == [
        "image_encoder.model.ln_final.weight",
        "image_encoder.model.logit_scale",
        "image_encoder.model.text_projection",
        "text_encoder.text_model.embeddings.position_ids",
    ]
    assert all(entry["reason"] for entry in record["left_out"])
    index = json.loads((bundle / "model_index.json").read_text())
    assert index["cam"] == ["longtake", "Cam"] and index["image_encoder"][1] == "CLIPVisionModelWithProjection"
    assert index["scheduler"] == ["diffusers", "DDIMScheduler"] and index["tokenizer"][1] == "CLIPTokenizer"


def test_the_record_has_the_digests_of_all_sources_and_what_they_became(bundle, base, checkpoint):
    record = json.loads((bundle / "bundle.json").read_text())
    first, *others = record["sources"]
    data = checkpoint.read_bytes()
    assert (first["file"], first["bytes"], first["sha256"]) == (
        checkpoint.name,
        len(data),
        hashlib.sha256(data).hexdigest(),
    )
    assert first["parts"] == ["unet", "cam", "apm", "image_encoder", "text_encoder", "vae"]
    for source in others:
        data = (bundle / source["file"]).read_bytes()
        assert source["sha256"] == hashlib.sha256(data).hexdigest() and source["bytes"] == len(data)
    assert record["format"] == 1 and "CC BY-NC 4.0" in record["licences"][0]["text"]
    assert "streaming_t2v.ckpt" in record["licences"][0]["text"]


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_opener_is_the_base_as_it_was_but_for_pickles(bundle, base):
    theirs = {path.relative_to(base) for path in base.rglob("*") if path.is_file() and path.suffix != ".bin"}
    ours = {path.relative_to(bundle / "opener") for path in (bundle / "opener").rglob("*") if path.is_file()}
    assert ours == theirs
    for name in ours:
        is_link = (bundle / "opener" / name).samefile(base / name)
        assert is_link == (name.suffix == ".safetensors"), name  # of what people edit, a copy


def test_an_edited_file_of_the_source_changes_nothing_in_the_bundle(checkpoint, base, tmp_path):
    copy = shutil.copytree(base, tmp_path / "modelscope")
    assert convert(checkpoint, copy, tmp_path / "bundle") == 0
    before = digests(tmp_path / "bundle")
    for file in copy.rglob("*"):
        if file.suffix in (".json", ".txt"):
            file.write_text("edited")
    save_file({"x": torch.ones(1)}, copy / "unet" / "diffusion_pytorch_model.safetensors")
    assert digests(tmp_path / "bundle") == before


def test_a_part_that_is_larger_than_a_shard_becomes_several_and_loads(checkpoint, base, nets, tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_files, "SHARD_BYTES", 100_000)
    assert convert(checkpoint, base, tmp_path / "bundle") == 0
    folder = tmp_path / "bundle" / "unet"
    files = sorted(folder.glob("*.safetensors"))
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert len(files) > 3 and files[0].name == f"diffusion_pytorch_model-00001-of-{len(files):05d}.safetensors"
    assert index["weight_map"].keys() == nets.unet.state_dict().keys()
    for file in files:
        with safe_open(file, framework="pt") as weights:
            assert all(index["weight_map"][name] == file.name for name in weights.keys())  # noqa: SIM118
    part = load_bundle(tmp_path / "bundle", keep=lambda name: name == "unet", required=("unet",)).parts["unet"]
    assert all(torch.equal(part.state_dict()[name], tensor) for name, tensor in nets.unet.state_dict().items())


def test_half_precision_and_tensors_that_are_views_are_kept(nets, base, tmp_path):
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in nets.tensors().items()}
    tensors["base_model.time_embedding.linear_1.weight"] = (
        tensors["base_model.time_embedding.linear_1.weight"].T.contiguous().T
    )
    torch.save(tensors, tmp_path / "half.ckpt")
    assert convert(tmp_path / "half.ckpt", base, tmp_path / "bundle") == 0
    with safe_open(tmp_path / "bundle" / "unet" / "diffusion_pytorch_model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118
            assert torch.equal(weights.get_tensor(name), tensors[f"base_model.{name}"]), name


@pytest.fixture(scope="module")
def refiner_net():
    return published.vid2vid_net()


@pytest.fixture(scope="module")
def refiner_checkpoint(refiner_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("refiner") / "non_ema_0035000.pth"
    torch.save(published.vid2vid_tensors(refiner_net), path)
    return path


def convert_refiner(checkpoint, vae, text_encoder, out, *more) -> int:
    options = {"--checkpoint": checkpoint, "--vae": vae, "--text-encoder": text_encoder, "--out": out}
    words = [str(word) for pair in options.items() for word in pair]
    return main(["convert", "vid2vid-xl", *words, *more])


@torch.no_grad()
@pytest.mark.parametrize("given", ["pipeline", "parts"])
def test_the_refiner_computes_what_it_did(refiner_net, refiner_checkpoint, base, tmp_path, given):
    vae, text = (base, base) if given == "pipeline" else (base / "vae", base / "text_encoder")
    assert convert_refiner(refiner_checkpoint, vae, text, tmp_path / "refiner") == 0
    loaded = load_bundle(tmp_path / "refiner", required=("refiner", "refiner_scheduler"))
    names = ["refiner", "refiner_scheduler", "refiner_vae", "refiner_text_encoder", "refiner_tokenizer"]
    assert sorted(loaded.parts) == sorted(names)
    net = loaded.parts["refiner"]
    assert type(net).__name__ == "Vid2VidUNet"
    x, text = randn(1, 4, 3, 10, 8), randn(1, 5, published.TEXT_DIM)
    state = net.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in refiner_net.state_dict().items())
    outputs = [denoise(one, x, T, video_context(one, None, text, None)) for one in (net, refiner_net)]
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)  # equal weights at other addresses: other last bits
    record = json.loads((tmp_path / "refiner" / "bundle.json").read_text())
    assert record["left_out"] == [] and record["sources"][0]["parts"] == ["refiner"]
    assert record["defaults"]["refiner.num_inference_steps"] == 30


@pytest.mark.parametrize(("flag", "scales"), [([], True), (["--no-scale-start"], False)])
def test_the_refiners_noise_is_the_published_one_and_its_start_is_an_option(
    refiner_checkpoint, base, tmp_path, flag, scales
):
    assert convert_refiner(refiner_checkpoint, base, base, tmp_path / "refiner", *flag) == 0
    config = json.loads((tmp_path / "refiner" / "refiner_scheduler" / "scheduler_config.json").read_text())
    schedule = NoiseSchedule.from_config(config)
    assert schedule.sigmas[0] == pytest.approx(0.001106, abs=1e-6) and schedule.sigmas[599] == pytest.approx(
        0.972363, abs=1e-6
    )
    assert schedule.scale_start is scales and schedule.prediction_type == "v_prediction"
    assert [round(t) for t in schedule.timesteps(30, 0.6)][:3] == [599, 580, 560]


def test_the_refiner_goes_into_the_bundle_and_stays_when_the_base_is_converted_again(
    refiner_checkpoint, checkpoint, base, tmp_path
):
    out = tmp_path / "bundle"
    out.mkdir()
    assert convert_refiner(refiner_checkpoint, base, base, out / "refiner") == 0
    assert convert(checkpoint, base, out) == 0  # before or after: the order is free
    assert convert(checkpoint, base, out) == 0
    assert (out / "refiner" / "bundle.json").is_file() and (out / "unet" / "config.json").is_file()
    assert sorted(os.listdir(tmp_path)) == ["bundle"]


def test_the_line_at_the_end_says_what_was_written(refiner_checkpoint, base, tmp_path, capsys):
    assert convert_refiner(refiner_checkpoint, base, base, tmp_path / "refiner") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'refiner'}: ") and "1480 tensors" in out and out.count("\n") == 1
