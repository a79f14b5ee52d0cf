"""The conditioned forward pass against diffusers' own, and the permitted influence of CAM and APM."""

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor

from longtake.models.nets.apm import Apm
from longtake.models.nets.cam import Cam
from longtake.models.nets.conditioned import Context, control_context, denoise, encode_condition, video_context
from longtake.models.nets.layers import keys_values, without_dropout
from tests.support.tiny_nets import IMAGE_DIM, TEXT_DIM, TEXT_TOKENS, randn, randomise, tiny_apm, tiny_cam, tiny_unet

T = torch.tensor(500)


@pytest.fixture(scope="module")
def unet():
    return tiny_unet()


@pytest.fixture
def cam(unet) -> Cam:
    cam = tiny_cam(unet)
    randomise(cam, seed=3)
    return cam


@pytest.fixture
def apm(unet) -> Apm:
    apm = tiny_apm(unet)
    randomise(apm, seed=4)
    return apm


def text(batch: int = 2) -> torch.Tensor:
    return randn(batch, TEXT_TOKENS, TEXT_DIM, seed=5)


def frames(batch: int = 2, height: int = 4, width: int = 6) -> torch.Tensor:
    """For latents of that size."""
    return randn(batch, 2, 3, 4 * height, 4 * width, seed=6).clamp(-1, 1)


def latents(height: int = 4, width: int = 6) -> torch.Tensor:
    return randn(2, 4, 5, height, width, seed=7)


SHAPES = [
    {},
    {"block_out_channels": (24, 48, 48), "layers_per_block": 2, "down_block_types": ("CrossAttnDownBlock3D",) * 3}
    | {"up_block_types": ("CrossAttnUpBlock3D",) * 3, "attention_head_dim": 12},
    {"block_out_channels": (32,), "down_block_types": ("DownBlock3D",), "up_block_types": ("UpBlock3D",)},
    {"mid_block_scale_factor": 2.0, "in_channels": 3, "out_channels": 3, "norm_eps": 1e-3, "cross_attention_dim": 20},
]


@pytest.mark.parametrize("config", SHAPES)
@torch.no_grad()
def test_without_cam_it_is_the_unet_of_diffusers(config):
    unet = tiny_unet(**config)
    x = randn(2, unet.config.in_channels, 5, 4, 8)
    words = randn(2, 6, unet.config.cross_attention_dim, seed=2)
    for t in (T, torch.tensor([900, 3])):
        out = denoise(unet, x, t, video_context(unet, None, words, None))
        torch.testing.assert_close(out, unet(x, t, words).sample, atol=1e-5, rtol=1e-5)
        assert out.shape == x.shape


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (5, 8), (6, 9), (10, 11), (9, 16), (45, 22)])
@torch.no_grad()
def test_latents_of_every_size_give_what_diffusers_gives(size):
    unet = tiny_unet(**SHAPES[1])  # two halvings
    x = randn(1, 4, 2, *size)
    out = denoise(unet, x, T, video_context(unet, None, text(1), None))
    torch.testing.assert_close(out, unet(x, T, text(1)).sample, atol=1e-5, rtol=1e-5)
    assert out.shape == x.shape


def test_a_size_that_is_twice_as_large_changes_no_bit(unet):
    (layer,) = unet.up_blocks[0].upsamplers
    x = randn(2, 32, 5, 7)
    assert torch.equal(layer(x), layer(x, torch.Size((10, 14))))


def test_where_gradients_flow_it_is_the_unet_with_plain_attention():
    unet = tiny_unet()
    unet.set_attn_processor(AttnProcessor())
    out = denoise(unet, latents(), T, video_context(unet, None, text(), None))
    expected = unet(latents(), T, text()).sample
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    grads = [torch.autograd.grad(y.square().mean(), unet.conv_in.weight)[0] for y in (out, expected)]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_cam_changes_nothing_before_it_is_trained(unet):
    cam = tiny_cam(unet)
    context = video_context(unet, None, text(), None)
    out = denoise(unet, latents(), T, context, cam, encode_condition(cam, frames()), control_context(cam, text()))
    assert torch.equal(out, denoise(unet, latents(), T, context))


@torch.no_grad()
def test_apm_changes_nothing_before_it_is_trained(unet):
    with_image = video_context(unet, tiny_apm(unet), text(), randn(2, IMAGE_DIM))
    without = video_context(unet, None, text(), None)
    assert with_image.layers.keys() == without.layers.keys()
    for name, (k, v) in with_image.layers.items():
        assert torch.equal(k, without.layers[name][0])
        assert torch.equal(v, without.layers[name][1])


@torch.no_grad()
def test_an_apm_without_an_image_is_the_text_alone(unet, apm):
    without, plain = video_context(unet, apm, text(), None), video_context(unet, None, text(), None)
    assert all(torch.equal(without.layers[name][0], plain.layers[name][0]) for name in plain.layers)


class ApmProcessor:
    """APM in the style of diffusers: an attention processor that mixes at each call, from the text of every frame."""

    def __init__(self, mixer, tokens):
        self.mixer, self.tokens = mixer, tokens

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        tokens = self.tokens.repeat_interleave(len(encoder_hidden_states) // len(self.tokens), dim=0)
        return AttnProcessor()(attn, hidden_states, self.mixer(encoder_hidden_states, tokens))


@torch.no_grad()
def test_the_cached_context_gives_what_mixing_at_every_frame_gives(apm):
    unet = tiny_unet()
    image = randn(2, IMAGE_DIM, seed=8)
    out = denoise(unet, latents(), T, video_context(unet, apm, text(), image))
    plain = denoise(unet, latents(), T, video_context(unet, None, text(), None))
    for name in video_context(unet, None, text(), None).layers:
        unet.get_submodule(name).set_processor(ApmProcessor(apm.mixer(name), apm.resampler(image)))
    torch.testing.assert_close(out, unet(latents(), T, text()).sample, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(out, plain, atol=1e-3)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 3), (9, 4)])
@torch.no_grad()
def test_cam_is_what_the_same_layers_called_by_diffusers_give(unet, cam, size):
    """The control branch through diffusers' own blocks, the mergers at the skips and at the mid block's output."""
    x, words, condition = latents(*size), text(), encode_condition(cam, frames(2, *size))
    out = denoise(unet, x, T, video_context(unet, None, words, None), cam, condition, control_context(cam, words))

    def encode(net, x, added):
        b, t = x.shape[0], x.shape[2]
        emb = net.time_embedding(net.time_proj(T.expand(b))).repeat_interleave(t, dim=0)
        h = net.conv_in(x.permute(0, 2, 1, 3, 4).flatten(0, 1))
        h = net.transformer_in(h, num_frames=t).sample + added
        skips = (h,)
        each = words.repeat_interleave(t, dim=0)
        for block in net.down_blocks:
            more = {"encoder_hidden_states": each} if hasattr(block, "attentions") else {}
            h, new = block(h, emb, num_frames=t, **more)
            skips += new
        return skips, net.mid_block(h, emb, encoder_hidden_states=each, num_frames=t)

    *features, feature = (y for part in encode(cam.unet, x[:, :, :2], condition.flatten(0, 1)) for y in _flat(part))
    residuals = []  # of the mergers, for diffusers' own residual inputs
    *skips, mid = (y for part in encode(unet, x, 0) for y in _flat(part))
    mergers = [*cam.cross_attention_merger_down_blocks, cam.cross_attention_merger_mid_block]
    for merger, skip, c in zip(mergers, [*skips, mid], [*features, feature], strict=True):
        residuals.append(merger(skip, c, 5, 2) - skip)
    expected = unet(
        x,
        T,
        words,
        down_block_additional_residuals=tuple(residuals[:-1]),
        mid_block_additional_residual=residuals[-1],
    ).sample
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(out, denoise(unet, x, T, video_context(unet, None, words, None)), atol=1e-3)


def _flat(part):
    return part if isinstance(part, tuple) else (part,)


@torch.no_grad()
def test_only_the_first_frames_of_the_latents_reach_the_control_branch(unet, cam):
    seen = []
    cam.unet.conv_in.register_forward_hook(lambda _net, args, _out: seen.append(args[0]))
    context, control = video_context(unet, None, text(), None), control_context(cam, text())
    denoise(unet, latents(), T, context, cam, encode_condition(cam, frames()), control)
    assert torch.equal(seen[0].unflatten(0, (2, 2)), latents().transpose(1, 2)[:, :2])


@torch.no_grad()
def test_one_condition_and_one_context_serve_all_copies_of_guidance(unet, cam, apm):
    image = randn(1, IMAGE_DIM)
    one = [
        video_context(unet, apm, text(1), image),
        encode_condition(cam, frames(1)),
        control_context(cam, text(1)),
    ]
    two = [
        video_context(unet, apm, text(1).expand(2, -1, -1), image.expand(2, -1)),
        encode_condition(cam, frames(1)).expand(2, -1, -1, -1, -1),
        control_context(cam, text(1).expand(2, -1, -1)),
    ]
    out = [denoise(unet, latents(), T, context, cam, condition, control) for context, condition, control in (one, two)]
    torch.testing.assert_close(*out, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_that_differ_in_the_anchor_alone_share_one_run_of_the_control_branch(unet, cam, apm):
    x = latents()[:1].expand(3, -1, -1, -1, -1)
    words, image = text()[[0, 1, 1]], randn(2, IMAGE_DIM)[[0, 0, 1]]
    context, condition = video_context(unet, apm, words, image), encode_condition(cam, frames(1))
    batches: list[int] = []
    cam.unet.conv_in.register_forward_hook(lambda _net, args, _out: batches.append(len(args[0])))
    shared = denoise(unet, x, T, context, cam, condition, control_context(cam, text(), copies=1))
    every = denoise(unet, x, T, context, cam, condition, control_context(cam, words))
    assert batches == [2 * 2, 3 * 2]
    torch.testing.assert_close(shared, every, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_copies_of_guidance_do_not_see_each_other(unet, cam, apm):
    image = randn(2, IMAGE_DIM)
    x, condition = latents(), encode_condition(cam, frames())
    both = denoise(unet, x, T, video_context(unet, apm, text(), image), cam, condition, control_context(cam, text()))
    for i in range(2):
        row = slice(i, i + 1)
        context, control = video_context(unet, apm, text()[row], image[row]), control_context(cam, text()[row])
        alone = denoise(unet, x[row], T, context, cam, condition[row], control)
        torch.testing.assert_close(both[row], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_call_leaves_nothing_behind(unet, cam, apm):
    modules = [*unet.modules(), *cam.modules(), *apm.modules()]
    before = [{k: v for k, v in vars(m).items() if not k.startswith("_")} for m in modules]
    context = video_context(unet, apm, text(), randn(2, IMAGE_DIM))
    control, condition = control_context(cam, text()), encode_condition(cam, frames())
    first = denoise(unet, latents(), T, context, cam, condition, control)
    denoise(unet, randn(1, 4, 3, 8, 8), T, video_context(unet, None, text(1), None))
    assert torch.equal(first, denoise(unet, latents(), T, context, cam, condition, control))
    assert before == [{k: v for k, v in vars(m).items() if not k.startswith("_")} for m in modules]


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_reach_every_parameter_of_cam_and_apm(autocast):
    unet = tiny_unet().requires_grad_(False)
    cam, apm = tiny_cam(unet), tiny_apm(unet)
    randomise(cam, seed=3)
    randomise(apm, seed=4)
    # On some CPUs oneDNN leaves parts of a bfloat16 conv3d's weight gradient unwritten with so few channels (inf, nan).
    with torch.backends.mkldnn.flags(enabled=not autocast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            context, control = video_context(unet, apm, text(), randn(2, IMAGE_DIM)), control_context(cam, text())
            out = denoise(unet, latents(), T, context, cam, encode_condition(cam, frames()), control)
        out.float().square().mean().backward()
    for net in (cam, apm):
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_gate_of_an_untrained_apm_can_open(unet):
    apm = tiny_apm(unet)
    denoise(unet, latents(), T, video_context(unet, apm, text(), randn(2, IMAGE_DIM))).square().mean().backward()
    assert all(p.grad.abs() > 0 for name, p in apm.named_parameters() if name.endswith("alpha"))


def test_without_dropout_training_mode_is_evaluation_mode():
    unet = tiny_unet()
    context = video_context(unet, None, text(), None)
    expected = denoise(unet, latents(), T, context)
    unet.train()
    assert not torch.equal(expected, denoise(unet, latents(), T, context))
    without_dropout(unet)
    assert torch.equal(expected, denoise(unet, latents(), T, context))


def test_keys_and_values_are_kept_once_for_a_video_not_once_for_a_frame(unet):
    context = video_context(unet, None, text(), None)
    assert context.batch == 2
    for name, (k, v) in context.layers.items():
        layer = unet.get_submodule(name)
        assert k.shape == v.shape == (2, layer.heads, TEXT_TOKENS, layer.inner_dim // layer.heads)
        assert torch.equal(k, keys_values(layer, text())[0])


@torch.no_grad()
def test_shapes_that_do_not_fit_are_named(unet, cam, apm):
    context, control = video_context(unet, None, text(), None), control_context(cam, text())
    condition, x = encode_condition(cam, frames()), latents()

    def refused(message, *args):
        with pytest.raises(ValueError, match=message):
            denoise(unet, *args)

    refused("context has a batch of 2, x of 3", randn(3, 4, 5, 4, 6), T, context)
    refused("needs condition and control_context", x, T, context, cam)
    refused("condition is 4x4, x is 4x6", x, T, context, cam, condition[..., :4], control)
    refused(
        "condition has 2 frames, x has 1: x must begin with the condition",
        x[:, :, :1],
        T,
        context,
        cam,
        condition,
        control,
    )
    three = randn(3, 4, 5, 4, 6)
    one = Context({name: (k[:1], v[:1]) for name, (k, v) in context.layers.items()})
    refused("condition has a batch of 2, x of 3", three, T, one, cam, condition, one)
    refused("control_context has a batch of 2, x of 3", three, T, one, cam, condition[:1], control)
    with pytest.raises(ValueError, match="condition frames are 16x22: both sides must be multiples of 4"):
        encode_condition(cam, frames()[..., :22])
    with pytest.raises(ValueError, match="text has 5 tokens; this Apm mixes exactly text_tokens=6"):
        video_context(unet, apm, text()[:, :5], randn(2, IMAGE_DIM))
    with pytest.raises(ValueError, match="an image needs an Apm"):
        video_context(unet, None, text(), randn(2, IMAGE_DIM))
