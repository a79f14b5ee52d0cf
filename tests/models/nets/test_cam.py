"""The merger against the published code, and Cam as a model that is made, saved and loaded."""

import pytest
import torch
from safetensors.torch import load_file

from longtake.models.nets.cam import Cam, Merger
from tests.support.places import SHARED
from tests.support.tiny_nets import randn, randomise, tiny_cam, tiny_unet

GOLDEN = SHARED / "golden" / "cam_block.safetensors"


@pytest.mark.skipif(not GOLDEN.exists(), reason="published vectors are absent: cam_block.safetensors")
def test_a_merger_gives_what_the_published_code_gives():
    golden = {name: value.float() for name, value in load_file(GOLDEN).items()}
    skip, feature, expected = golden["in.skip"], golden["in.cam"], golden["out"]
    merger = Merger(skip.shape[2], head_dim=64, groups=32)
    merger.load_state_dict({n.removeprefix("weights."): v for n, v in golden.items() if n.startswith("weights.")})
    with torch.no_grad():
        out = merger(skip.flatten(0, 1), feature.flatten(0, 1), skip.shape[1], feature.shape[1])
    torch.testing.assert_close(out.unflatten(0, skip.shape[:2]), expected, atol=1e-4, rtol=1e-4)


def test_a_merger_looks_at_its_own_place_only():
    merger = Merger(16, head_dim=8, groups=4).eval()
    randomise(merger)
    x, feature = randn(5, 16, 3, 3), randn(2, 16, 3, 3, seed=2)
    other = feature.clone()
    other[:, :, 1, 2] += 1
    with torch.no_grad():
        change = (merger(x, feature, 5, 2) - merger(x, other, 5, 2)).abs().amax(dim=(0, 1))
    assert (change > 0).nonzero().tolist() == [[1, 2]]


def test_the_order_of_the_condition_frames_does_not_matter_to_a_merger():
    merger = Merger(16, head_dim=8, groups=4).eval()
    randomise(merger)
    x, feature = randn(5, 16, 2, 2), randn(4, 16, 2, 2, seed=2)
    with torch.no_grad():
        torch.testing.assert_close(merger(x, feature, 5, 4), merger(x, feature.flip(0), 5, 4))


def test_the_control_branch_starts_as_the_encoder_half_of_the_unet():
    unet = tiny_unet()
    ours, theirs = tiny_cam(unet).unet.state_dict(), unet.state_dict()
    shared = [name for name in ours if not name.startswith("controlnet_cond_embedding.")]
    assert {name.split(".")[0] for name in shared} == {
        "conv_in",
        "time_embedding",
        "transformer_in",
        "down_blocks",
        "mid_block",
    }
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)
    assert all(ours[name].data_ptr() != theirs[name].data_ptr() for name in shared)


def test_there_is_a_merger_for_every_skip_of_the_unet():
    unet = tiny_unet(block_out_channels=(8, 16), layers_per_block=2, norm_num_groups=4)
    widths = [m.temporal_transformer.proj_out.out_features for m in tiny_cam(unet).cross_attention_merger_down_blocks]
    assert widths == [8, 8, 8, 8, 16, 16]
    assert len(widths) == sum(len(block.resnets) for block in unet.up_blocks)


def test_the_scale_factor_counts_the_halvings_of_the_frame_encoder():
    cam = tiny_cam(tiny_unet())
    assert cam.scale_factor == 4
    with torch.no_grad():
        assert cam.unet.controlnet_cond_embedding(randn(1, 3, 12, 8)).shape == (1, 16, 3, 2)


def test_a_saved_cam_loads_the_same(tmp_path):
    cam = tiny_cam(tiny_unet())
    randomise(cam)
    cam.save_pretrained(tmp_path)
    loaded = Cam.from_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()
    assert dict(loaded.config).items() >= {"merger_head_dim": 8, "in_channels": 4}.items()
    before, after = cam.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_head_dimension_that_does_not_divide_a_width_is_named():
    with pytest.raises(ValueError, match=r"merger_head_dim=24 must divide .*16"):
        tiny_cam(tiny_unet(), head_dim=24)
