"""The published refiner at full size, on the meta device: every tensor has a place."""

import json

import pytest

from longtake.models.convert.placement import check_places
from longtake.models.convert.vid2vid_xl import refiner_part
from tests.support.places import SHARED

KEYS = SHARED / "checkpoint_keys" / "refiner.json"
needs_keys = pytest.mark.skipif(not KEYS.exists(), reason="absent: checkpoint_keys/refiner.json")


@needs_keys
def test_all_tensors_of_the_refiner_are_placed_and_its_config_is_the_published_one():
    shapes = {name: tuple(shape) for name, shape in json.loads(KEYS.read_text()).items()}
    part = refiner_part(shapes)
    check_places([part], shapes, ())
    assert len(part.tensors) == len({take.source for take in part.tensors.values()}) == 1480
    assert sum(take.squeezed for take in part.tensors.values()) == 2 * 17  # proj_in and proj_out
    config = {
        "_class_name": "Vid2VidUNet",
        "attention_head_dim": 64,
        "cross_attention_dim": 1024,
        "norm_num_groups": 32,
    }
    assert {key: part.config[key] for key in config} == config and part.entry == ("longtake", "Vid2VidUNet")
    assert list(part.config["block_out_channels"]) == [320, 640, 1280, 1280]


def test_a_file_of_another_network_is_refused():
    with pytest.raises(ValueError, match="^conv_in.weight has no place here$"):
        refiner_part({"conv_in.weight": (1,)})
    with pytest.raises(ValueError, match="^input_blocks.0.0.weight is missing$"):
        refiner_part({})
