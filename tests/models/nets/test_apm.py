"""APM's arithmetic against a slow loop, and Apm as a model that is made, saved and loaded."""

import math

import torch

from longtake.models.nets.apm import Apm, Mixer
from longtake.models.nets.layers import cross_attentions
from tests.support.tiny_nets import IMAGE_DIM, TEXT_DIM, TEXT_TOKENS, randn, randomise, tiny_apm, tiny_unet


def test_the_context_is_what_a_slow_loop_says():
    n, k, d = 4, 2, 5
    mixer = Mixer(n, k, d).eval()
    randomise(mixer)
    text, tokens = randn(2, n, d), randn(2, k, d, seed=2)
    with torch.no_grad():
        out = mixer(text, tokens).double()
    weight, bias = mixer.conv.weight.double(), mixer.conv.bias.double()
    alpha = mixer.alpha.item()
    for b in range(2):
        every = torch.cat([text[b], tokens[b]]).double()
        for i in range(n):
            row = []
            for j in range(d):
                value = bias[i].item()
                for source in range(n + k):
                    for tap in range(3):
                        if 0 <= j + tap - 1 < d:
                            value += (weight[i, source, tap] * every[source, j + tap - 1]).item()
                row.append(value)
            mean = sum(row) / d
            scale = math.sqrt(sum((v - mean) ** 2 for v in row) / d + mixer.conv_ln.eps)
            for j in range(d):
                mixed = (row[j] - mean) / scale * mixer.conv_ln.weight[j].item() + mixer.conv_ln.bias[j].item()
                expected = text[b, i, j].item() + alpha / (1 + math.exp(-alpha)) * mixed
                assert math.isclose(out[b, i, j].item(), expected, abs_tol=1e-5)


def test_tokens_are_slices_of_a_two_layer_network_of_the_embedding():
    apm = tiny_apm(tiny_unet())
    image = randn(2, IMAGE_DIM)
    first, second = apm.resampler.context_embedding[0], apm.resampler.context_embedding[2]
    with torch.no_grad():
        hidden = image @ first.weight.T + first.bias
        flat = hidden * torch.sigmoid(hidden) @ second.weight.T + second.bias
        tokens = apm.resampler(image)
    assert tokens.shape == (2, 3, TEXT_DIM)
    torch.testing.assert_close(tokens[:, 1], flat[:, TEXT_DIM : 2 * TEXT_DIM])


def test_there_is_a_mixer_at_the_name_of_every_cross_attention():
    unet = tiny_unet()
    apm = tiny_apm(unet)
    names = {key.removesuffix(".alpha") for key in apm.state_dict() if key.endswith(".alpha")}
    assert names == set(cross_attentions(unet))
    assert names == {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2",
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.1.transformer_blocks.0.attn2",
    }
    for name, layer in cross_attentions(unet).items():
        assert layer.to_k.in_features == TEXT_DIM
        assert apm.mixer(name).conv.weight.shape == (TEXT_TOKENS, TEXT_TOKENS + 3, 3)
        assert apm.mixer(name).alpha.item() == 0


def test_a_saved_apm_loads_the_same(tmp_path):
    apm = tiny_apm(tiny_unet())
    randomise(apm)
    apm.save_pretrained(tmp_path)
    loaded = Apm.from_pretrained(tmp_path)
    before, after = apm.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
