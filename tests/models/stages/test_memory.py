"""Estimates of memory: what is counted is exact, what is estimated grows as it should and is near what torch needs."""

import pytest
import torch

from longtake.models.domain.plan import PlanParams
from longtake.models.nets.latents import FRAMES_PER_CALL
from longtake.models.stages.bundle import load_bundle
from longtake.models.stages.files import read_parts
from longtake.models.stages.memory import DECODED_AT_ONCE, memory_of
from longtake.models.stages.weight_files import num_parameters, read_headers

SIZES = {"base": (32, 32), "refiner": (64, 64)}


def stages_of(bundle, sizes=SIZES, batch=2, dtype="float32"):
    parts = read_parts(bundle)
    weights = {name: part for name, part in parts.items() if part.kind not in ("scheduler", "tokenizer")}
    parameters = {name: num_parameters(read_headers(part.folder)) for name, part in weights.items()}
    return {stage.name: stage for stage in memory_of(parts, parameters, PlanParams(), sizes, batch, dtype)}


def test_as_many_frames_are_decoded_at_once_as_the_code_does():
    assert DECODED_AT_ONCE == FRAMES_PER_CALL


def test_weights_are_those_of_the_loaded_networks(random_bundle):
    parts = load_bundle(random_bundle).parts
    used = {"base": ("unet", "vae", "text_encoder", "image_encoder", "cam", "apm"),
            "refiner": ("refiner", "vae", "text_encoder")}  # fmt: skip
    for stage, names in used.items():
        count = sum(p.numel() for name in names for p in parts[name].parameters())
        assert stages_of(random_bundle)[stage].weights == 4 * count
        assert stages_of(random_bundle, dtype="float16")[stage].weights == 2 * count


def test_the_estimate_grows_with_frame_batch_and_precision(random_bundle):
    one = stages_of(random_bundle)["refiner"]
    larger = stages_of(random_bundle, {"refiner": (128, 128)})["refiner"]
    assert (larger.unet, larger.vae) == (4 * one.unet, 4 * one.vae)
    assert stages_of(random_bundle, batch=4)["refiner"].unet == 2 * one.unet
    assert stages_of(random_bundle, dtype="bfloat16")["refiner"].unet == one.unet // 2
    assert one.total == one.weights + max(one.unet, one.vae)


@pytest.mark.parametrize("size", [(64, 64), (128, 64)])
def test_the_estimate_of_the_refiner_is_near_what_torch_allocates(random_bundle, size):
    unet = load_bundle(random_bundle, keep=lambda name: name == "refiner").parts["refiner"]
    x = torch.zeros(2, 4, PlanParams().window_frames, size[0] // 8, size[1] // 8)
    text = torch.zeros(2, 24, 32)
    with torch.profiler.profile(profile_memory=True) as profile, torch.inference_mode():
        unet(x, torch.tensor(1), text)
    held, peak = 0, 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    estimate = stages_of(random_bundle, {"refiner": size})["refiner"].unet
    assert 0.4 < estimate / peak < 2.5, (estimate, peak)
