"""The default configuration, and how the parts' own rules are said with their section."""

import pytest

from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf, VideoParams, load


def test_the_default_file_loads_and_names_the_bundle_that_ships():
    conf = load()
    assert conf.bundle == "tiny"
    assert DEFAULT_CONFIG.name == "tiny.yaml"


def test_every_part_can_be_overridden():
    conf = load(
        overrides=[
            "bundle=/some/where",
            "plan.overlap_frames=4",
            "base.num_inference_steps=5",
            "refiner.coupling=symmetric",
            "scheduler.lookahead_frames=64",
            "video.fps=24",
        ]
    )
    assert (conf.bundle, conf.plan.overlap_frames, conf.base.num_inference_steps) == ("/some/where", 4, 5)
    assert conf.refiner.coupling is Coupling.SYMMETRIC
    assert (conf.scheduler.lookahead_frames, conf.video.fps) == (64, 24)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("plan.chunk_frames=0", "plan.chunk_frames=0"),
        ("base.anchor_frame=16", "base.anchor_frame=16 must be below plan.chunk_frames=16"),
        ("base.num_inference_steps=0", "base.num_inference_steps=0"),
        ("refiner.strength=1.5", "refiner.strength=1.5"),
        ("refiner.sampler=euler", "refiner"),
        ("scheduler.lookahead_frames=0", "scheduler.lookahead_frames=0"),
        ("video.fps=0", "video.fps=0 must be between 1 and 240"),
        ("refiner.guidance=3", "did you mean refiner.guidance_scale?"),
    ],
)
def test_a_value_out_of_range_names_its_section(override, says):
    with pytest.raises(ValueError) as error:
        load(overrides=[override])
    assert says in str(error.value)


def test_params_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        Conf().video = VideoParams(fps=3)  # type: ignore[misc]


@pytest.mark.parametrize("pool", ["base", "refiner"])
def test_gpus_that_would_idle_are_refused(pool):
    with pytest.raises(ValueError, match=f"^ray.{pool}.num_gpus=0.5 with device=cpu"):
        load(overrides=[f"ray.{pool}.num_gpus=0.5"])
    assert load(overrides=[f"ray.{pool}.num_gpus=0.5", "device=cuda"]).device == "cuda"
