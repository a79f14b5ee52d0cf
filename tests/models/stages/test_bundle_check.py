"""`bundle check` on the meta device: every part, every problem."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from longtake.models.stages.bundle_check import bundle_problems
from longtake.pipelines.config.paths import BUNDLES
from tests.support.pipelines import change_json, in_pieces, pickled, weights_of, write_pipeline


def edit(part, change):
    file = weights_of(part)
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_the_shipped_bundle_and_a_pipeline_as_it_lies_have_no_problem(random_bundle, tmp_path):
    assert bundle_problems(BUNDLES / "tiny") == []
    folder = write_pipeline(random_bundle, tmp_path / "pipeline")
    assert bundle_problems(folder) == []
    in_pieces(folder / "unet")
    pickled(folder / "vae")
    assert len(bundle_problems(folder)) == 1 and bundle_problems(folder, allow_pickle=True) == []


def test_problems_of_all_parts_are_listed(copy_of_random_bundle):
    bundle = copy_of_random_bundle
    edit(bundle / "unet", lambda tensors: tensors.pop("conv_in.weight"))
    edit(bundle / "refiner", lambda tensors: tensors.update({"conv_in.bias": tensors["conv_in.bias"][:3].clone()}))
    edit(bundle / "vae", lambda tensors: [tensors.pop(name) for name in list(tensors)])
    change_json(bundle / "scheduler" / "scheduler_config.json", prediction_type="guess")
    change_json(bundle / "apm" / "config.json", layers=["down_blocks.0.attentions.0.transformer_blocks.0.attn2"])
    change_json(bundle / "image_encoder" / "config.json", num_attention_heads=5)
    (bundle / "tokenizer" / "tokenizer.json").write_text("{}")
    said = "\n".join(bundle_problems(bundle))
    for problem in (
        "unet: tensor conv_in.weight (16, 4, 3, 3) is missing",
        "refiner: tensor conv_in.bias is (3,), its config asks for (16,)",
        "more tensors are missing or of another shape",
        "scheduler: prediction_type='guess' must be one of",
        "apm and unet have 6 cross attentions that the other has not: unet has down_blocks.1",
        "image_encoder: ",
        "tokenizer is not readable as a tokenizer",
    ):
        assert problem in said, problem
    assert said.count("bundle part") < 20


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "cam"])
def test_a_part_without_its_folder_is_named(copy_of_random_bundle, part):
    shutil.rmtree(copy_of_random_bundle / part)
    assert any(f"copy/{part}" in problem for problem in bundle_problems(copy_of_random_bundle))


def test_a_folder_that_is_no_bundle_has_one_problem(tmp_path):
    assert len(bundle_problems(tmp_path)) == 1
