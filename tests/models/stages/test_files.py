"""The parts of a bundle and their places: a refiner elsewhere, and indexes that name what we do not know."""

import json

import pytest

from longtake.models.stages.files import REFINER_PARTS, REQUIRED_OF_BASE, read_parts
from tests.support.pipelines import CLASSES, change_json


def write_index(folder, **entries):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(entries))
    return folder


UNET, SCHEDULER = CLASSES["unet"], CLASSES["scheduler"]
SMALL = {"refiner": UNET, "refiner_scheduler": SCHEDULER, "refiner_vae": CLASSES["vae"]}
SMALL |= {"refiner_text_encoder": CLASSES["text_encoder"], "refiner_tokenizer": CLASSES["tokenizer"]}


def folders(parts):
    return {name: part.folder for name, part in parts.items()}


def test_a_bundle_has_its_parts_in_folders_of_their_names(random_bundle):
    parts = read_parts(random_bundle)
    assert {name: part.folder.name for name, part in parts.items()} == {name: name for name in parts}


def test_a_pipeline_without_a_refiner_says_both_ways_out(tmp_path):
    folder = write_index(tmp_path, _class_name="TextToVideoSDPipeline", **CLASSES)
    assert set(read_parts(folder, required=REQUIRED_OF_BASE)) == set(CLASSES)
    with pytest.raises(
        ValueError, match=r"no refiner, refiner_scheduler\. Set refiner.enabled=false .* or refiner.model"
    ):
        read_parts(folder)


def test_a_pipeline_named_beside_the_bundle_is_the_refiner_with_parts_of_its_own(random_bundle, tmp_path):
    other = write_index(tmp_path / "other", **CLASSES)
    parts = folders(read_parts(random_bundle, other))
    assert parts["unet"] == random_bundle / "unet" and parts["refiner"] == other / "unet"
    for name in ("vae", "text_encoder", "tokenizer", "scheduler"):
        assert (parts[name], parts[f"refiner_{name}"]) == (random_bundle / name, other / name)


def test_a_small_bundle_inside_or_beside_holds_the_refiner(tmp_path):
    bundle = write_index(tmp_path / "bundle", **CLASSES)
    small = write_index(bundle / "refiner", **SMALL)
    for beside in (None, small):
        parts = folders(read_parts(bundle, beside))
        assert {name: parts[name] for name in REFINER_PARTS} == {name: small / name for name in REFINER_PARTS}


def test_a_whole_bundle_named_beside_gives_its_refiner_with_the_parts_that_its_stages_share(random_bundle, tmp_path):
    bundle = write_index(tmp_path, **CLASSES)
    parts = folders(read_parts(bundle, random_bundle))
    assert parts["refiner"] == random_bundle / "refiner" and parts["refiner_vae"] == random_bundle / "vae"


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"vae": CLASSES["vae"]}, "has neither a refiner nor a unet"),
        ({"unet": UNET}, "is incomplete: model_index.json has no scheduler"),
        ({"refiner": UNET, "scheduler": SCHEDULER}, "is incomplete: model_index.json has no refiner_scheduler"),
    ],
)
def test_a_folder_without_a_refiner_is_named(random_bundle, tmp_path, entries, says):
    with pytest.raises(ValueError, match=f"refiner.model=.* {says}"):
        read_parts(random_bundle, write_index(tmp_path, **entries))


@pytest.mark.parametrize(
    ("name", "entry", "says"),
    [
        ("unet", ["evil", "UNet3DConditionModel"], "unet is of the library 'evil', which is not known"),
        ("unet", ["diffusers", "Evil"], "unet='Evil' must be one of UNet3DConditionModel"),
        ("vae", ["transformers", "CLIPTextModel"], "vae='CLIPTextModel' must be one of AutoencoderKL"),
        ("scheduler", ["evil", "DDIMScheduler"], "scheduler is of the library 'evil'"),
        ("scheduler", ["diffusers", "os"], "scheduler='os' must be one of"),
        ("tokenizer", ["diffusers", "AutoTokenizer"], "tokenizer='AutoTokenizer' must be one of"),
        ("text_encoder", ["transformers"], r"text_encoder=\['transformers'\] must be a library and a class"),
        ("text_encoder", ["transformers", 3], r"text_encoder=\['transformers', 3\] must be"),
    ],
)
def test_a_library_or_class_that_is_not_known_is_refused_by_name(tmp_path, name, entry, says):
    folder = write_index(tmp_path, **{**CLASSES, name: entry})
    with pytest.raises(ValueError, match=f"model_index.json: {says}"):
        read_parts(folder)


def test_all_that_is_not_known_is_named_at_once(tmp_path):
    folder = write_index(tmp_path, **{**CLASSES, "unet": ["a", "B"], "vae": ["c", "D"]})
    with pytest.raises(ValueError, match="unet='B' .*; vae='D'"):
        read_parts(folder)


def test_parts_that_no_stage_uses_are_left_alone(tmp_path):
    folder = write_index(tmp_path, **CLASSES, safety_checker=["evil", "Evil"], feature_extractor=[None, None])
    assert set(read_parts(folder, required=())) == set(CLASSES)


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (
            "vae/config.json",
            {"_class_name": "AutoencoderTiny"},
            "it is a AutoencoderTiny in config.json, a AutoencoderKL in",
        ),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil.Evil"}}, "names code"),
        ("refiner_scheduler/scheduler_config.json", {"auto_map": {"x": "evil.Evil"}}, "names code"),
        ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "names code"),
    ],
)
def test_a_part_of_another_class_or_with_code_is_refused(copy_of_random_bundle, file, change, says):
    change_json(copy_of_random_bundle / file, **change)
    part = read_parts(copy_of_random_bundle)[file.split("/")[0]]
    with pytest.raises(ValueError, match=f"bundle part .*{part.name}: .*{says}"):
        part.config()


def test_a_number_of_brackets_without_end_is_no_json(tmp_path):
    (tmp_path / "model_index.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="not readable JSON"):
        read_parts(tmp_path)
