"""Folders as people have them: a text-to-video pipeline of diffusers, with random weights and no refiner."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

CLASSES = {
    "unet": ["diffusers", "UNet3DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
}
WIDTH = 48  # of the text encoder: another than the random bundle's
STEM = "diffusion_pytorch_model"


def write_pipeline(random_bundle: Path, folder: Path, width: int = WIDTH) -> Path:
    """A folder in the layout of `damo-vilab/text-to-video-ms-1.7b`: its UNet attends to texts of `width` channels."""
    from longtake.models.toy_world.base_stage import new_unet

    torch.manual_seed(1)
    for name in ("vae", "scheduler"):
        shutil.copytree(random_bundle / name, folder / name)
    new_unet((16, 32), 16, channels=4, text_width=width, size=4).save_pretrained(folder / "unet")
    config = CLIPTextConfig(
        vocab_size=32,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    write_old_tokenizer(folder / "tokenizer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "TextToVideoSDPipeline", **CLASSES}))
    return folder


def write_old_tokenizer(folder: Path) -> None:
    """vocab.json and merges.txt, as before there was a tokenizer.json."""
    folder.mkdir()
    tokens = ["<|startoftext|>", "<|endoftext|>", *"abcdefghij", *(f"{c}</w>" for c in "abcdefghij"), "ba", "bad</w>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nb a\nba d</w>\n")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**special, "model_max_length": 12}))


def weights_of(part: Path) -> Path:
    return next(part.glob("*.safetensors"))


def halved(part: Path) -> None:
    """The fp16 variant alone."""
    file = weights_of(part)
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file.with_suffix(".fp16.safetensors"))
    file.unlink()


def in_pieces(part: Path) -> None:
    """The weights in two files and an index."""
    file = weights_of(part)
    tensors, places = load_file(file), {}
    stem = file.stem
    names = sorted(tensors)
    for number, some in enumerate((names[::2], names[1::2]), 1):
        piece = f"{stem}-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in some}, part / piece)
        places |= dict.fromkeys(some, piece)
    (part / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    file.unlink()


def pickled(part: Path) -> None:
    """The weights as a .bin file alone."""
    file = weights_of(part)
    stem = "pytorch_model" if file.stem == "model" else file.stem
    torch.save(load_file(file), part / f"{stem}.bin")
    file.unlink()


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
