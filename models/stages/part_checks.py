"""Whether the parts of a bundle fit each other, from configs and headers alone: no torch, and no weight is read.

Every network is fine on its own; it is together that a text of 768 channels meets a UNet that attends to 1024.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from longtake.models.nets.sizes import VID2VID
from longtake.models.stages.files import SHARED, Part
from longtake.models.stages.weight_files import WITHOUT_WEIGHTS, read_headers

_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": 64,
    "down_block_types": [*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"],
}
# What a class has where its config is silent.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "unet": _UNET,
    "refiner": _UNET,
    "cam": {**_UNET, "conditioning_embedding_out_channels": [32, 96, 256, 512]},
    "apm": {"cross_attention_dim": 1024, "image_embed_dim": 1024, "text_tokens": 77},
    "vae": {"latent_channels": 4, "block_out_channels": [64]},
    "text_encoder": {"hidden_size": 512, "max_position_embeddings": 77, "vocab_size": 49408},
    "image_encoder": {"projection_dim": 512},
}
_MIRRORED = ("in_channels", "block_out_channels", "layers_per_block", "down_block_types", "attention_head_dim")
# (part, key, part, key): these must be equal.
EQUAL = (
    ("unet", "cross_attention_dim", "text_encoder", "hidden_size"),
    ("unet", "in_channels", "vae", "latent_channels"),
    ("unet", "out_channels", "vae", "latent_channels"),
    ("refiner", "cross_attention_dim", "refiner_text_encoder", "hidden_size"),
    ("refiner", "in_channels", "refiner_vae", "latent_channels"),
    ("refiner", "out_channels", "refiner_vae", "latent_channels"),
    ("cam", "cross_attention_dim", "unet", "cross_attention_dim"),
    *(("cam", key, "unet", key) for key in _MIRRORED),  # so it has a merger for each skip, of its width
    ("apm", "cross_attention_dim", "unet", "cross_attention_dim"),
    ("apm", "image_embed_dim", "image_encoder", "projection_dim"),
    ("apm", "text_tokens", "text_encoder", "max_position_embeddings"),
)
NO_LIMIT = 1_000_000  # a tokenizer without a length says 10**30


def part_problems(parts: Mapping[str, Part], allow_pickle: bool = False) -> list[str]:
    """Everything that is wrong with the parts as far as configs and headers tell, each in one line."""
    configs: dict[str, dict[str, Any]] = {}
    problems = []
    for name, part in parts.items():
        try:
            configs[name] = {**DEFAULTS.get(part.kind, {}), **part.config()}
        except ValueError as error:
            problems.append(str(error))
        try:
            if part.kind not in WITHOUT_WEIGHTS:
                read_headers(part.folder, allow_pickle)
        except ValueError as error:
            problems.append(str(error))
    return [*problems, *_misfits(configs), *_wrong_partners(parts), *_wrong_tokenizers(parts, configs)]


def _misfits(configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for one, key, other, key_there in EQUAL:
        found = _shared(configs, other)
        if one not in configs or found is None:
            continue
        here, there = configs[one].get(key), configs[found].get(key_there)
        if here != there:
            yield f"{one} has {key}={here}, but {found} has {key_there}={there}: they must be equal"
    if "cam" in configs and "vae" in configs:
        widths, blocks = configs["cam"]["conditioning_embedding_out_channels"], configs["vae"]["block_out_channels"]
        if len(widths) != len(blocks):
            yield (
                f"cam has {len(widths)} conditioning_embedding_out_channels, but vae has {len(blocks)} "
                "block_out_channels: they halve the picture in the same number of places"
            )


def _wrong_partners(parts: Mapping[str, Part]) -> Iterator[str]:
    if "apm" in parts and "image_encoder" not in parts:
        yield "apm is without an image_encoder, which embeds its anchor frame"
    if "cam" in parts and "unet" in parts:
        yield from wrong_base(parts["unet"])


def wrong_base(unet: Part) -> Iterator[str]:
    """A line on a base model whose levels have other rows than those of CAM."""
    if unet.class_name == VID2VID:
        yield f"unet is a {unet.class_name}, which CAM cannot continue: it must be a UNet3DConditionModel"


def _wrong_tokenizers(parts: Mapping[str, Part], configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Tokens that the text encoder does not have, and texts of another length than it reads."""
    for name in (name for name in configs if parts[name].kind == "tokenizer"):
        encoder = _shared(configs, name.replace("tokenizer", "text_encoder"))
        if encoder is None:
            continue
        try:
            last = _last_token(parts[name])
        except ValueError as error:
            yield str(error)
            continue
        size, positions = configs[encoder]["vocab_size"], configs[encoder]["max_position_embeddings"]
        if last >= size:
            yield f"{name} has tokens up to {last}, but {encoder} has vocab_size={size}: they must be below"
        length = configs[name].get("model_max_length", positions)
        if length < NO_LIMIT and length != positions:
            yield (
                f"{name} has model_max_length={length}, but {encoder} has max_position_embeddings={positions}: "
                "they must be equal"
            )


def _last_token(part: Part) -> int:
    """The highest token of a tokenizer's files. Raises ValueError if there are none, or they are broken."""
    folder = part.folder
    try:
        if (folder / "tokenizer.json").exists():
            content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
            added = [token["id"] for token in content.get("added_tokens", [])]
            return int(max([*content["model"]["vocab"].values(), *added]))
        if not (folder / "merges.txt").exists():
            raise ValueError("it has neither tokenizer.json nor vocab.json and merges.txt")
        return int(max(json.loads((folder / "vocab.json").read_text("utf-8")).values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"bundle part {folder} is not readable as a tokenizer: {why}") from None


def _shared(names: Mapping[str, Any], name: str) -> str | None:
    """The part that serves as `name`: the refiner may use those of the base model."""
    bare = name.removeprefix("refiner_")
    if name in names:
        return name
    return bare if bare in names and bare in SHARED else None
