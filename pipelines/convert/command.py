"""The two conversions: checked before anything is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longtake.models.convert import streaming_t2v, vid2vid_xl
from longtake.models.convert.placement import check_places
from longtake.pipelines.convert.checkpoint import Checkpoint, open_checkpoint
from longtake.pipelines.convert.conversion import Conversion
from longtake.pipelines.convert.sources import (
    NETWORK,
    TOKENIZER,
    Folder,
    part_folder,
    pipeline_folders,
    tokenizer_folder,
    unchanged,
)

ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")


def check_streaming_t2v(checkpoint: Path, base: Path, out: Path) -> Conversion:
    """StreamingT2V's file and ModelScope's folder as a bundle. Raises ValueError for what is not them."""
    folders = pipeline_folders("--base", base)
    configs = {name: folders[name].json("config.json") for name in streaming_t2v.FROM_BASE}
    scheduler = folders["scheduler"].json("scheduler_config.json")
    copied = [
        *folders["tokenizer"].copied("tokenizer", TOKENIZER),
        *unchanged("--base", base, folders.values(), "opener"),
    ]
    weights = open_checkpoint(checkpoint)
    _refuse_other(weights, "input_blocks.0.0.weight", "vid2vid-xl")
    with _explained(f"checkpoint={checkpoint} does not fit --base={base}"):
        parts = streaming_t2v.streaming_parts(weights.shapes, configs)
        left_out = streaming_t2v.left_out(weights.shapes)
        check_places(parts, weights.shapes, left_out)
    index = {"tokenizer": ("transformers", "CLIPTokenizer"), "scheduler": ("diffusers", "DDIMScheduler")}
    texts = {"scheduler/scheduler_config.json": {**scheduler, "_class_name": "DDIMScheduler"}}
    return Conversion(out, weights, parts, copied, index, texts, left_out, streaming_t2v.DEFAULTS)


def check_vid2vid_xl(checkpoint: Path, vae: Path, text_encoder: Path, out: Path, scale_start: bool) -> Conversion:
    """MS-Vid2Vid-XL's file, a VAE and a text encoder as a refiner. Raises ValueError for what is not them."""
    vae_part = part_folder("--vae", vae, "vae")
    text_part = part_folder("--text-encoder", text_encoder, "text_encoder")
    tokenizer = tokenizer_folder("--text-encoder", text_part)
    weights = open_checkpoint(checkpoint)
    _refuse_other(weights, "base_model.conv_in.weight", "streaming-t2v")
    with _explained(f"checkpoint={checkpoint}"):
        part = vid2vid_xl.refiner_part(weights.shapes)
        check_places([part], weights.shapes, ())
    index = {
        "refiner_scheduler": ("longtake", "NoiseSchedule"),
        "refiner_vae": ("diffusers", _vae_class(vae_part, part.config["in_channels"])),
        "refiner_text_encoder": ("transformers", _encoder_class(text_part, part.config["cross_attention_dim"])),
        "refiner_tokenizer": ("transformers", "CLIPTokenizer"),
    }
    copied = [
        *vae_part.copied("refiner_vae", NETWORK),
        *text_part.copied("refiner_text_encoder", NETWORK),
        *tokenizer.copied("refiner_tokenizer", TOKENIZER),
    ]
    texts = {"refiner_scheduler/scheduler_config.json": {**vid2vid_xl.SCHEDULE, "scale_start": scale_start}}
    return Conversion(out, weights, [part], copied, index, texts, {}, vid2vid_xl.DEFAULTS)


def _refuse_other(weights: Checkpoint, tensor: str, command: str) -> None:
    if tensor in weights.tensors:
        raise ValueError(f"checkpoint={weights.path} is one for `longtake convert {command}`: it has {tensor}")


def _vae_class(folder: Folder, channels: int) -> str:
    config = folder.json("config.json")
    _require(folder, config, "_class_name", config.get("_class_name") == "AutoencoderKL", "must be AutoencoderKL")
    fits = config.get("latent_channels") == channels
    _require(folder, config, "latent_channels", fits, f"must be {channels}, as the refiner's in_channels")
    return "AutoencoderKL"


def _encoder_class(folder: Folder, width: int) -> str:
    config = folder.json("config.json")
    name = (config.get("architectures") or [None])[0]
    _require(folder, config, "architectures", name in ENCODERS, f"must be one of {', '.join(ENCODERS)}")
    fits = config.get("hidden_size") == width
    _require(folder, config, "hidden_size", fits, f"must be {width}, as the refiner's cross_attention_dim")
    return str(name)


def _require(folder: Folder, config: dict[str, Any], key: str, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{folder.option}={folder.path}: {key}={config.get(key)!r} {rule}")


@contextmanager
def _explained(problem: str) -> Iterator[None]:
    """Networks raise anything for sizes that make no sense."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{problem}: {kind}{error}") from None
