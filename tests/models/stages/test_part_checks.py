"""Parts that do not fit each other are named before torch is imported, all of them."""

import json
import subprocess
import sys

import pytest

from longtake.models.stages.files import read_parts
from longtake.models.stages.part_checks import part_problems
from longtake.pipelines.config.paths import BUNDLES
from tests.support.pipelines import change_json, weights_of, write_pipeline


def test_bundles_that_work_have_no_problem(random_bundle):
    assert part_problems(read_parts(BUNDLES / "tiny")) == part_problems(read_parts(random_bundle)) == []


MISFITS = [
    ("unet", {"cross_attention_dim": 48}, "unet has cross_attention_dim=48, but text_encoder has hidden_size=32"),
    ("refiner", {"cross_attention_dim": 48}, "refiner has cross_attention_dim=48, but text_encoder has hidden_size=32"),
    ("vae", {"latent_channels": 8}, "unet has in_channels=4, but vae has latent_channels=8"),
    ("refiner", {"out_channels": 5}, "refiner has out_channels=5, but vae has latent_channels=4"),
    ("cam", {"block_out_channels": [16, 64]}, "cam has block_out_channels=[16, 64], but unet has block_out_channels="),
    ("cam", {"layers_per_block": 3}, "cam has layers_per_block=3, but unet has layers_per_block=1"),
    ("cam", {"conditioning_embedding_out_channels": [8, 8]}, "cam has 2 conditioning_embedding_out_channels, but vae"),
    ("apm", {"text_tokens": 77}, "apm has text_tokens=77, but text_encoder has max_position_embeddings=24"),
    ("apm", {"image_embed_dim": 1024}, "apm has image_embed_dim=1024, but image_encoder has projection_dim=32"),
    ("text_encoder", {"vocab_size": 10}, "tokenizer has tokens up to 34, but text_encoder has vocab_size=10"),
]


@pytest.mark.parametrize(("part", "change", "says"), MISFITS)
def test_each_misfit_is_named_with_both_sides(copy_of_random_bundle, part, change, says):
    change_json(copy_of_random_bundle / part / "config.json", **change)
    assert any(problem.startswith(says) for problem in part_problems(read_parts(copy_of_random_bundle)))


def test_a_tokenizer_of_another_length_is_named(copy_of_random_bundle):
    file = copy_of_random_bundle / "tokenizer" / "tokenizer_config.json"
    change_json(file, model_max_length=77)
    says = "tokenizer has model_max_length=77, but text_encoder has max_position_embeddings=24: they must be equal"
    assert part_problems(read_parts(copy_of_random_bundle)) == [says]
    change_json(file, model_max_length=10**30)  # transformers' word for none
    assert part_problems(read_parts(copy_of_random_bundle)) == []


def test_a_refiner_with_the_text_encoder_of_another_model_is_named(random_bundle, tmp_path):
    other = write_pipeline(random_bundle, tmp_path / "other")
    assert part_problems(read_parts(random_bundle, other)) == []
    index = json.loads((other / "model_index.json").read_text())
    del index["text_encoder"], index["tokenizer"]
    (other / "model_index.json").write_text(json.dumps(index))
    says = "refiner has cross_attention_dim=48, but text_encoder has hidden_size=32: they must be equal"
    assert part_problems(read_parts(random_bundle, other)) == [says]


def test_all_problems_are_named_at_once(copy_of_random_bundle):
    bundle = copy_of_random_bundle
    file = weights_of(bundle / "vae")
    file.write_bytes(file.read_bytes()[:-1])
    weights_of(bundle / "cam").unlink()
    (bundle / "text_encoder" / "config.json").write_text("{")
    (bundle / "tokenizer" / "tokenizer.json").unlink()
    change_json(bundle / "unet" / "config.json", in_channels=5)
    said = "\n".join(part_problems(read_parts(bundle)))
    for problem in ("its header says", "cam has no .safetensors", "config.json is not readable", "in_channels=5"):
        assert problem in said
    assert "Traceback" not in said


def test_an_apm_without_an_image_encoder_is_named(random_bundle):
    parts = read_parts(random_bundle)
    del parts["image_encoder"]
    assert part_problems(parts) == ["apm is without an image_encoder, which embeds its anchor frame"]


def test_a_base_model_with_the_rows_of_the_published_refiner_cannot_have_a_cam(copy_of_random_bundle):
    index = copy_of_random_bundle / "model_index.json"
    change_json(index, unet=["longtake", "Vid2VidUNet"])
    change_json(copy_of_random_bundle / "unet" / "config.json", _class_name="Vid2VidUNet")
    says = "unet is a Vid2VidUNet, which CAM cannot continue: it must be a UNet3DConditionModel"
    assert part_problems(read_parts(copy_of_random_bundle)) == [says]
    change_json(index, cam=[None, None])
    assert part_problems(read_parts(copy_of_random_bundle)) == []


def test_no_torch_is_imported():
    code = (
        "import sys; from pathlib import Path; from longtake.models.stages.files import read_parts;"
        "from longtake.models.stages.part_checks import part_problems;"
        f"assert part_problems(read_parts(Path({str(BUNDLES / 'tiny')!r}))) == [];"
        "print(sorted({'torch', 'diffusers', 'transformers', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
