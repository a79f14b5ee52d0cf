"""Each stage on a handful of clips and the smallest networks: the parts of its loss, not its quality."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from longtake.models.stages.bundle import load_bundle
from longtake.models.toy_world import vae_stage as vae
from longtake.models.toy_world.base_stage import BaseStage, BaseTrainParams
from longtake.models.toy_world.captions import swap_gaps, training_captions
from longtake.models.toy_world.clip_pool import CLOSE, ClipPool, encode_pool, pool_scenes
from longtake.models.toy_world.clip_stage import ClipParams, ClipStage, new_tokenizer, tokenize
from longtake.models.toy_world.memory_pools import BeginningPool, MemoryPool, decode_memories
from longtake.models.toy_world.refiner_stage import RefinerStage, RefinerTrainParams, given_latents, mistaken
from longtake.models.toy_world.vae_stage import DecoderStage, VaeParams, VaeStage, random_frames, shades_kept
from longtake.models.toy_world.world import ATTRIBUTES, PALETTES, sample_scene
from longtake.models.training.captions import Captioner
from longtake.models.training.diffusion import sample_timesteps
from longtake.models.training.memory import MemoryStage
from longtake.models.training.params import LoopParams, MemoryParams

LOOP = LoopParams(steps=100, batch=2)


@pytest.fixture(scope="module")
def parts(random_bundle):
    return load_bundle(random_bundle).parts


@pytest.fixture(scope="module")
def captioner(parts):
    return Captioner(parts["tokenizer"], parts["text_encoder"])


def pool_of(parts, frames, clips=4):
    scenes, first = pool_scenes(0, "test", clips, 8)
    return ClipPool(scenes, first, encode_pool(parts["vae"], scenes, first, frames, 32))


def trained(stage):
    """Names of modules that get a gradient from one loss, which is the same when computed again."""
    one, _ = stage.loss(60)
    two, _ = stage.loss(60)
    assert torch.equal(one, two) and not torch.equal(one, stage.loss(61)[0])
    one.backward()
    return {n for n, m in stage.modules.items() if any(p.grad is not None and p.grad.any() for p in m.parameters())}


def test_vae_loss_reaches_the_whole_vae():
    stage = VaeStage(VaeParams(LOOP, block_out_channels=(8, 8, 8, 8)), 0)
    assert trained(stage) == {"vae"}


def test_vae_loss_goes_from_crops_to_whole_frames_of_both_sizes(monkeypatch):
    seen = []
    monkeypatch.setattr(vae, "random_frames", lambda *args: seen.append(args[1:]) or random_frames(*args))
    stage = VaeStage(VaeParams(LoopParams(steps=100, batch=4), block_out_channels=(8, 8, 8, 8)), 0)
    for step in (0, 1, 98, 99):
        stage.loss(step)
    assert seen == [(4, 64, 32), (4, 128, 32), (4, 64, 64), (2, 128, 128)]  # number, size and crop


def test_the_laplacians_weight_is_on_grain_and_on_nothing_that_is_smooth():
    ramp = torch.linspace(-1, 1, 64).expand(2, 3, 64, 64)
    assert vae._laplacian(ramp).abs().max() < 1e-5 and vae._laplacian(ramp).shape == (2, 3, 62, 62)
    losses = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        stage = VaeStage(VaeParams(LOOP, block_out_channels=(8, 8, 8, 8), laplacian=weight), 0)
        losses.append(stage.loss(0)[0].item())
    assert losses[1] > losses[0] + 0.01


def test_folding_makes_latents_unit_normal_and_changes_no_picture():
    stage = VaeStage(VaeParams(LOOP, block_out_channels=(8, 8, 8, 8)), 0)
    stage.vae.eval()
    frames = random_frames(np.random.default_rng(1), 32, 64, 64)
    with torch.no_grad():
        before = stage.vae.decode(stage.vae.encode(frames).latent_dist.mode()).sample
        stage.finish()
        latents = stage.vae.encode(frames).latent_dist.mode()
        after = stage.vae.decode(latents).sample
    assert torch.allclose(before, after, atol=1e-4)
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(8), atol=0.2)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(8), atol=0.2)


def test_a_channel_that_says_nothing_becomes_zero_and_changes_no_picture():
    stage = VaeStage(VaeParams(LOOP, block_out_channels=(8, 8, 8, 8)), 0)
    stage.vae.eval()
    frames = random_frames(np.random.default_rng(1), 32, 64, 64)
    with torch.no_grad():
        stage.vae.quant_conv.bias[8] += 20  # the posterior of the first channel is wide ...
        stage.vae.post_quant_conv.weight[:, 0] = 0  # ... and the decoder ignores it
        before = stage.vae.decode(stage.vae.encode(frames).latent_dist.mode()).sample
        stage.finish()
        latents = stage.vae.encode(frames).latent_dist.mode()
        after = stage.vae.decode(latents).sample
    assert (latents[:, 0] == 0).all() and (latents[:, 1:].std((0, 2, 3)) > 0.8).all()
    assert torch.allclose(before, after, atol=1e-4)


def test_a_gray_picture_keeps_the_brightness_of_a_shade_and_nothing_of_its_hue():
    shades = torch.from_numpy(np.random.default_rng(0).normal(0, 0.02, (50, 3)))
    assert shades_kept(shades.float(), shades.float()) == {"light_kept": 1, "hue_kept": 1}
    gray = shades.mean(1, keepdim=True).expand(-1, 3)
    assert shades_kept(shades.float(), gray.float()) == pytest.approx({"light_kept": 1, "hue_kept": 0}, abs=1e-5)


def test_the_decoder_goes_on_alone(parts):
    stage = DecoderStage(VaeParams(LOOP, latent_channels=4), 0, parts["vae"])
    try:
        assert trained(stage) == {"vae"}
        assert all(p.grad is None for p in stage.vae.encoder.parameters())
        assert any(p.grad is not None for p in stage.vae.decoder.parameters())
    finally:
        parts["vae"].requires_grad_(False)


def test_clip_loss_reaches_both_encoders_and_the_heads():
    stage = ClipStage(ClipParams(LOOP, width=32, text_layers=1, image_layers=1), 0)
    assert trained(stage) == {"text_encoder", "image_encoder", "word_heads", "image_heads", "shade_head"}
    frozen = ClipStage(ClipParams(LOOP, width=32, text_layers=1, image_layers=1, text_frozen=True), 0)
    assert trained(frozen) == {"image_encoder", "word_heads", "image_heads", "shade_head"}


def test_base_loss_goes_from_single_frames_over_strides_to_whole_clips(parts, captioner):
    pool = pool_of(parts, 16)
    stage = BaseStage(BaseTrainParams(LOOP, block_out_channels=(16, 32)), 0, captioner, pool, pool)
    assert [stage.loss(step)[1]["frames"] for step in (0, 30, 99)] == [1, 4, 16]
    assert trained(stage) == {"base"}
    assert set(stage.gates()) == {"loss_999", *(f"swap_{name}_999" for name in ATTRIBUTES)}


def test_refiner_loss_goes_from_short_clips_to_whole_windows(parts, captioner):
    pool = pool_of(parts, 24)
    stage = RefinerStage(RefinerTrainParams(LOOP, block_out_channels=(16, 32)), 0, captioner, pool, pool)
    assert [stage.loss(step)[1]["frames"] for step in (0, 99)] == [4, 24]
    assert trained(stage) == {"refiner"}


def test_a_base_model_makes_mistakes_about_words_and_never_about_where_and_when():
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(400)]
    drawn = [mistaken(np.random.default_rng(1000 + i), scene) for i, scene in enumerate(scenes)]
    wrong = {name: np.mean([getattr(a, name) != getattr(b, name) for a, b in zip(scenes, drawn, strict=True)])
             for name in ATTRIBUTES}  # fmt: skip
    assert 0.15 < wrong["color"] < 0.3 and 0.15 < wrong["background"] < 0.3 and 0.05 < wrong["shape"] < 0.18
    assert wrong["size"] == wrong["motion"] == wrong["style"] == 0
    for before, after in zip(scenes, drawn, strict=True):
        assert (before.start, before.speed, before.radius) == (after.start, after.speed, after.radius)


@pytest.mark.parametrize("name, word, near", [("background", "olive", "brown"), ("color", "yellow", "orange")])
def test_a_wrong_colour_is_another_words_or_on_the_way_there_and_often_the_nearest_words(name, word, near):
    palette, field = PALETTES[name]
    scenes = [sample_scene(np.random.default_rng(i), **{name: word}) for i in range(600)]
    drawn = [mistaken(np.random.default_rng(1000 + i), scene) for i, scene in enumerate(scenes)]
    wrong = [(a, b) for a, b in zip(scenes, drawn, strict=True) if getattr(b, name) != word]
    assert 0.45 < np.mean([getattr(b, name) == near for _, b in wrong]) < 0.75
    ways = []
    for before, after in wrong:
        right, is_ = np.array(getattr(before, field)), np.array(getattr(after, field))
        step = np.array(palette[getattr(after, name)]) - right
        ways.append(float(step @ (is_ - right) / (step @ step)))
        assert np.abs(is_ - right - ways[-1] * step).max() < 0.1  # a shade of the word's colour, or on the line to one
    assert min(ways) > -0.3 and max(ways) < 1.5 and 0.15 < np.mean(np.array(ways) < 0.5) < 0.4


def test_half_of_a_pool_may_be_over_backgrounds_that_are_close():
    def share(close_share):
        scenes, _ = pool_scenes(0, "test", 600, 8, frozenset(), close_share)
        return np.mean([scene.background in CLOSE for scene in scenes])

    assert 0.28 < share(0.0) < 0.39 and 0.44 < share(0.25) < 0.56


def test_the_refiner_learns_from_what_it_is_given(parts, captioner):
    pool = pool_of(parts, 24)
    given = given_latents(parts["vae"], pool.scenes, pool.first, 0, 32, 0.1)
    assert given.shape == pool.latents.shape and not torch.equal(given, pool.latents)
    losses = []
    for share in (0.0, 1.0):
        params = RefinerTrainParams(LOOP, block_out_channels=(16, 32), given=share)
        torch.manual_seed(0)
        stage = RefinerStage(params, 0, captioner, pool, pool, given, given)
        losses.append(stage.loss(0)[0].item())
        assert stage.gates()["loss_given"] > 0
    assert losses[0] != losses[1]


@pytest.fixture(scope="module")
def memory_stage(parts, captioner):
    pool = pool_of(parts, 32)
    condition, anchor = decode_memories(parts["vae"], parts["image_encoder"], pool, 0, 0.1, drift=0.2)
    short = ClipPool(pool.scenes, pool.first, pool.latents[:, 16:])
    clips = MemoryPool(short, condition, anchor)
    null = torch.zeros(1, anchor.shape[-1])
    params = MemoryParams(LOOP, base_frozen=False, merger_head_dim=16, condition_channels=(8, 8, 8, 8))
    beginnings = BeginningPool(pool_of(parts, 16), text_dropout=0.1)
    return lambda share=0.0, **changes: MemoryStage(
        replace(params, **changes), 0, deepcopy(parts["unet"]), captioner, null, clips, clips, beginnings, share
    )


def test_memory_training_reaches_cam_apm_and_the_base(memory_stage):
    memory_stage = memory_stage(without_cam=0.0)
    memory_stage.loss(0)[0].backward()
    assert all(p.grad is not None for p in memory_stage.unet.parameters())
    merger = memory_stage.cam.cross_attention_merger_mid_block
    assert merger.temporal_transformer.proj_out.weight.grad.any()
    assert any(p.grad.any() for n, p in memory_stage.apm.named_parameters() if n.endswith("alpha"))


def test_the_colours_of_half_of_the_conditions_are_off_and_those_of_no_anchor(parts):
    pool = pool_of(parts, 32, clips=12)
    true, anchors = decode_memories(parts["vae"], parts["image_encoder"], pool, 0, 0.0)
    seen, same = decode_memories(parts["vae"], parts["image_encoder"], pool, 0, 0.0, drift=0.3)
    off = (np.abs(seen.astype(int) - true).mean((1, 2, 3, 4)) > 2).sum()
    assert 3 <= off <= 9 and torch.equal(anchors, same)


def test_a_frozen_base_is_left_alone(memory_stage):
    stage = memory_stage(base_frozen=True)
    assert set(stage.modules) == {"cam", "apm"}
    stage.loss(0)[0].backward()
    assert all(p.grad is None for p in stage.unet.parameters())
    assert all(p.grad is None or p.grad.isfinite().all() for p in stage.cam.parameters())


def test_beginnings_are_learned_without_memory(memory_stage):
    stage = memory_stage(share=1.0)
    loss, figures = stage.loss(0)
    loss.backward()
    assert figures == {"beginning": 1.0}
    assert all(p.grad is None for p in [*stage.cam.parameters(), *stage.apm.parameters()])


def test_before_memory_training_the_memories_change_nothing(memory_stage):
    gates = memory_stage().gates()
    assert len({round(value, 6) for name, value in gates.items() if name.endswith("950")}) == 1


def test_text_and_anchor_are_dropped_as_often_as_the_paper_says(memory_stage):
    rows = np.random.default_rng(0).integers(0, 4, 4000)
    stage = memory_stage()
    batch = stage._dropped(np.random.default_rng(1), stage.pool.batch(rows))
    counts = Counter(zip([not c for c in batch.captions], (batch.anchor == 0).all(1).tolist(), strict=True))
    for case in ((True, False), (False, True), (True, True)):
        assert abs(counts[case] / 4000 - 0.05) < 0.015, case


def test_captions_are_dropped_whole_now_and_then():
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(1000)]
    empty = sum(not caption for caption in training_captions(np.random.default_rng(0), scenes, 0.1))
    assert 70 < empty < 130


def test_the_swap_gap_is_the_loss_that_a_wrong_word_costs():
    scenes = [sample_scene(np.random.default_rng(i), color="red") for i in range(5)]
    gaps = swap_gaps(lambda captions: float(sum("red" not in caption for caption in captions)), scenes)
    assert gaps.pop("loss") == 0 and gaps.pop("swap_color") == 5
    assert set(gaps.values()) == {0.0}


def test_a_share_of_timesteps_is_in_the_noisiest_tenth():
    high = (sample_timesteps(np.random.default_rng(0), 20000, 0.6) >= 900).float().mean().item()
    assert abs(high - (0.6 + 0.4 * 0.1)) < 0.02
    assert sample_timesteps(np.random.default_rng(0), 1000, 0.0, 300).max() < 300


def test_the_tokenizer_has_one_token_a_word_and_one_for_all_others():
    tokenizer = new_tokenizer(24)
    ids = tokenize(tokenizer, ["A red circle, bouncing"])
    assert ids.shape == (1, 24)
    words = tokenizer.convert_ids_to_tokens(ids[0, :6].tolist())
    assert words == ["<|startoftext|>", "a", "red", "circle", "<unk>", "<|endoftext|>"]
