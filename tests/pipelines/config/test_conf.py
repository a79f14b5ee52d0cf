"""The default configuration, settings of one video, and errors that name the section."""

import pytest

from longtake.models.domain.checks import FieldError
from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf, VideoParams, for_video, load
from longtake.pipelines.config.paths import CONF


def test_the_default_file_loads_and_names_the_bundle_that_ships():
    conf = load()
    assert conf.bundle == "tiny"
    assert DEFAULT_CONFIG.name == "tiny.yaml"


def test_the_recipe_of_the_published_system_sets_the_machine_and_leaves_the_sampling_to_the_bundle():
    conf, plain = load(CONF / "streaming-t2v.yaml"), load()
    assert (conf.device, conf.dtype, conf.ray.base.num_gpus, conf.ray.refiner.num_gpus) == ("cuda", "float16", 1, 1)
    assert (conf.base, conf.refiner, conf.plan, conf.opener) == (plain.base, plain.refiner, plain.plan, plain.opener)


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


def test_the_settings_of_one_video_are_typed_and_the_others_keep_theirs():
    conf = load(overrides=["refiner.strength=0.5"])
    own = for_video(conf, (("base.num_inference_steps", 5), ("refiner.coupling", "causal"), ("video.fps", 24)))
    assert (own.base.num_inference_steps, own.refiner.coupling, own.video.fps) == (5, Coupling.CAUSAL, 24)
    assert own.refiner.strength == 0.5 and conf.base.num_inference_steps != 5
    assert for_video(conf, ()) is conf


@pytest.mark.parametrize(
    ("setting", "field", "says"),
    [
        (("ray.address", "x"), "ray.address", "ray.address=x cannot differ from video to video: only base, plan"),
        (("a", 1), "a", "a=1 cannot differ"),
        (("refiner.width", 7), "refiner.width", "refiner.width=7: must be even"),
        (("refiner.width", "64"), "refiner.width", "refiner.width=64 must be a whole number, not text"),
        (("refiner.width", True), "refiner.width", "refiner.width=True must be a whole number, not true or false"),
        (("refiner.guidance", 3), "refiner.guidance", "did you mean refiner.guidance_scale?"),
        (("refiner", 3), "refiner", "refiner=3 is a section"),
    ],
)
def test_a_setting_that_a_video_cannot_have_is_refused_with_its_key(setting, field, says):
    with pytest.raises(FieldError) as error:
        for_video(Conf(), (setting,))
    assert error.value.field == field and says in str(error.value)
