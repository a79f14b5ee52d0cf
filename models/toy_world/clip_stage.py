"""Trains the tiny text and image encoders, CLIP's way, on captions and frames of the moving-shapes world.

Pictures cannot teach the meaning of "moves left", so every text position also predicts the attribute words before it.
Trained only jointly with the UNet, the features of "left" and "right" collapse to within 2.5 % of each other, and the
UNet cannot learn the direction from them.

Words cannot teach the exact shade of a colour, so the image encoder predicts the numbers too. Without that its
embedding repeats the caption, and an anchor has nothing to add.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerFast,
)

from longtake.models.diffusion.noise import rng_for
from longtake.models.nets.image import clip_pixels
from longtake.models.toy_world.render import render
from longtake.models.toy_world.world import ATTRIBUTES, WORDS, Scene, sample_scene
from longtake.models.training.params import LoopParams
from longtake.models.training.stage import TrainStage

SPECIAL = ("<|endoftext|>", "<|startoftext|>", "<unk>")
MOTIONLESS = [name for name in ATTRIBUTES if name != "motion"]
SHADE_WEIGHT = 300.0  # of squared errors in 0-1; shades of one word are .025 from each other


@dataclass(frozen=True, slots=True)
class ClipParams:
    loop: LoopParams
    width: int = 64
    text_layers: int = 2
    image_layers: int = 3
    image_size: int = 32  # frames of 64 px are halved first: 16 patches are enough for an appearance
    patch: int = 8
    tokens: int = 24  # longest prompt, its two marks included
    held_out: int = 256  # captions for the gates
    jitter: float = 0.5  # noise on text features before the heads: it pushes the words' features apart
    text_frozen: bool = False  # a base model that was trained on the texts needs them as they are


def new_tokenizer(tokens: int) -> PreTrainedTokenizerFast:
    """One token a word; words outside the world become `<unk>`."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("removed")]
    )
    marks = [(mark, vocabulary[mark]) for mark in SPECIAL[:2]]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=marks
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        model_max_length=tokens,
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Int[Tensor, "b n"]:
    batch = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = batch["input_ids"]
    return ids


def sample_caption(rng: np.random.Generator, scene: Scene) -> str:
    """The scene's caption with size, style or the background left out now and then: the anchor then has to say it."""
    chances = {"size": 0.15, "style": 0.20, "background": 0.12}
    return scene.caption(frozenset(name for name, chance in chances.items() if rng.random() < chance))


class ClipStage(TrainStage):
    """Contrast of captions and frames, of two frames of one video, and questions about the words seen so far."""

    def __init__(self, params: ClipParams, seed: int) -> None:
        self.params, self.seed, self.loop = params, seed, params.loop
        self.tokenizer = new_tokenizer(params.tokens)
        width = params.width
        text = CLIPTextConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=params.text_layers,
            num_attention_heads=width // 16,
            max_position_embeddings=params.tokens,
            bos_token_id=1,
            eos_token_id=0,
            pad_token_id=0,
        )
        image = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=params.image_layers,
            num_attention_heads=width // 16,
            image_size=params.image_size,
            patch_size=params.patch,
        )
        # A word is one of three answers per attribute value: the last class means "not said yet".
        heads = {name: nn.Linear(width, len(values) + 1) for name, values in ATTRIBUTES.items()}
        self.text, self.image = CLIPTextModelWithProjection(text), CLIPVisionModelWithProjection(image)
        # Plain attention: scaled_dot_product_attention takes half of a training step on CPU for such short sequences.
        self.text.set_attn_implementation("eager")
        self.image.set_attn_implementation("eager")
        self.word_heads = nn.ModuleDict(heads)
        self.image_heads = nn.ModuleDict({n: nn.Linear(width, len(ATTRIBUTES[n])) for n in MOTIONLESS})
        self.shade_head = nn.Linear(width, 6)
        if params.text_frozen:
            self.text.requires_grad_(False)
        self.modules: dict[str, nn.Module] = {
            "text_encoder": self.text,
            "image_encoder": self.image,
            "word_heads": self.word_heads,
            "image_heads": self.image_heads,
            "shade_head": self.shade_head,
        }

    def loss(self, step: int, worker: int = 0) -> tuple[Tensor, dict[str, float]]:
        rng = rng_for(self.seed, "train-clip", step, worker)
        losses, _ = self._losses(rng, self.loop.batch)
        return torch.stack(list(losses.values())).sum(), {name: loss.item() for name, loss in losses.items()}

    def gates(self) -> dict[str, float]:
        rng = rng_for(self.seed, "held-out-clip", 0, 0)
        return self._losses(rng, self.params.held_out)[-1]

    def _losses(self, rng: np.random.Generator, batch: int) -> tuple[dict[str, Tensor], dict[str, float]]:
        scenes = [sample_scene(rng) for _ in range(batch)]
        ids = tokenize(self.tokenizer, [sample_caption(rng, scene) for scene in scenes]).to(self.device)
        frames = render(scenes, rng.integers(0, 64, (batch, 2)), 64).to(self.device) * 2 - 1
        embeds = self.image(clip_pixels(frames.flatten(0, 1), self.params.image_size)).image_embeds.float()
        shade, off = self._shade(embeds, [scene for scene in scenes for _ in range(2)])
        first, second = rearrange(F.normalize(embeds, dim=-1), "(b t) e -> t b e", t=2)
        text = self.text(input_ids=ids)
        features = text.last_hidden_state.float()
        jitter = (
            torch.from_numpy(rng.standard_normal(features.shape, dtype=np.float32)).to(self.device) * self.params.jitter
        )
        words, right = self._words(features + jitter, ids)
        match = _contrast(F.normalize(text.text_embeds.float(), dim=-1), first)
        values = {n: [ATTRIBUTES[n].index(getattr(s, n)) for s in scenes] for n in MOTIONLESS}
        truth = {n: torch.tensor(v, device=self.device) for n, v in values.items()}
        attribute_loss = torch.stack(
            [F.cross_entropy(self.image_heads[n](first).float() * 10, truth[n]) for n in MOTIONLESS]
        ).mean()
        share = {f"word_{name}": value for name, value in right.items()}
        share |= {
            f"seen_{n}": (self.image_heads[n](first).argmax(-1) == truth[n]).float().mean().item() for n in MOTIONLESS
        }
        share["same"] = ((first @ second.T).argmax(-1) == torch.arange(batch, device=self.device)).float().mean().item()
        losses = {
            "words": words,
            "match": match,
            "same": _contrast(first, second),
            "seen": attribute_loss,
            "shade": shade,
        }
        return losses, share | off

    def _shade(self, embeds: Float[Tensor, "b e"], scenes: list[Scene]) -> tuple[Tensor, dict[str, float]]:
        """The loss, and the error of the predicted colours, 0-1 (root mean square)."""
        truth = torch.tensor([(*scene.background_rgb, *scene.rgb) for scene in scenes], device=self.device)
        squared = (self.shade_head(embeds).float() - truth) ** 2
        off = squared.detach().mean(0).unflatten(0, (2, 3)).mean(1).sqrt().tolist()
        return SHADE_WEIGHT * squared.mean(), dict(zip(("shade_background", "shade_object"), off, strict=True))

    def _words(self, features: Float[Tensor, "b n d"], ids: Int[Tensor, "b n"]) -> tuple[Tensor, dict[str, float]]:
        losses, right = [], {}
        for name, values in ATTRIBUTES.items():
            target = self._last_word_index(values, ids)
            answer = self.word_heads[name](features).float()
            losses.append(F.cross_entropy(answer.flatten(0, 1), target.flatten()))
            right[name] = (answer.argmax(-1) == target).float().mean().item()
        return torch.stack(losses).mean(), right

    def _last_word_index(self, values: tuple[str, ...], ids: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        """The index into `values` of the one at or before each position; len(values) if there was none yet."""
        last_word = torch.full_like(ids, len(values))
        for index, value in enumerate(values):
            hit = (ids == self.tokenizer.convert_tokens_to_ids(value.split()[-1])).cummax(1).values
            last_word = torch.where(hit, index, last_word)
        return last_word


def _contrast(a: Float[Tensor, "b e"], b: Float[Tensor, "b e"], temperature: float = 0.1) -> Tensor:
    logits = a @ b.T / temperature
    rows = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
