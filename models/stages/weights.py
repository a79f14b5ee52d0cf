"""The networks of a bundle, from the files of their parts. A pickle is read only where it is asked for, and then only
as tensors: code in it is refused, not run."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longtake.models.stages.weight_files import read_header, weight_files

Shape = tuple[int, ...]
# Attention in the VAEs of early 2023, and its names now.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_network(
    cls: Any, config: Mapping[str, Any], folder: Path, device: str, dtype: torch.dtype, allow_pickle: bool = False
) -> Any:
    """The network of `cls` with the weights in `folder`, ready for inference.

    Raises ValueError naming the first tensor that is missing or misshapen, and as `weight_files` does.
    """
    problems = tensor_problems(cls, config, folder, allow_pickle)
    if problems:
        raise ValueError(problems[0])
    with init_empty_weights(include_buffers=False):
        network = empty_network(cls, config)
    expected = network.state_dict()
    state = {}
    for file in weight_files(folder, allow_pickle):
        for name, tensor in _tensors(file):
            known = known_name(name, expected)
            if known is not None:
                # A copy: a part of a larger tensor, as pickles have them, would keep the whole.
                state[known] = tensor.to(device, dtype, copy=True, memory_format=torch.contiguous_format)
    network.load_state_dict(state, assign=True)
    return network.to(device).eval().requires_grad_(False)


def tensor_problems(cls: Any, config: Mapping[str, Any], folder: Path, allow_pickle: bool = False) -> list[str]:
    """Every tensor of `folder` that is missing or misshapen for the config. Raises ValueError for unreadable files."""
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in empty_network(cls, config).state_dict().items()}
    actual: dict[str, Shape] = {}
    for file in weight_files(folder, allow_pickle):
        for name, shape in _shapes(file).items():
            actual[known_name(name, expected) or name] = shape
    problems = []
    for name, shape in expected.items():
        if name not in actual:
            problems.append(f"bundle part {folder}: tensor {name} {shape} is missing")
        elif actual[name] != shape:
            problems.append(f"bundle part {folder}: tensor {name} is {actual[name]}, its config asks for {shape}")
    return problems


def empty_network(cls: Any, config: Mapping[str, Any]) -> Any:
    """The network without its weights, as its config describes it."""
    if hasattr(cls, "from_config"):  # diffusers
        return cls.from_config(config)
    return cls(cls.config_class.from_dict(config))  # transformers


def known_name(name: str, expected: Mapping[str, Any]) -> str | None:
    """The name among `expected` of a tensor in a file; None for one that the network does not have.

    transformers 5 has dropped the prefix of a text encoder's names, and diffusers renamed the VAE's attention.
    """
    if name in expected:
        return name
    bare = name.removeprefix("text_model.").removeprefix("vision_model.")
    *path, layer, leaf = name.split(".") if name.count(".") else ["", name]
    renamed = ".".join([*path, OLD_ATTENTION.get(layer, layer), leaf])
    prefixed = (f"{prefix}.{name}" for prefix in ("text_model", "vision_model"))
    return next((known for known in (bare, renamed, *prefixed) if known in expected), None)


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    if file.suffix == ".bin":
        yield from _unpickle(file, "cpu").items()
        return
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                yield name, tensors.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"bundle part {file} cannot be read: {error}") from None


def _shapes(file: Path) -> dict[str, Shape]:
    if file.suffix == ".bin":
        return {name: tuple(tensor.shape) for name, tensor in _unpickle(file, "meta").items()}
    return {name: tensor.shape for name, tensor in read_header(file).items()}


def _unpickle(file: Path, device: str) -> dict[str, Tensor]:
    """The tensors of a pickle. Raises ValueError for one that holds, or does, anything else."""
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"bundle part {file} is refused, it is no file of tensors alone: {why}") from None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"bundle part {file} is refused: it must hold tensors by name, and nothing else")
    return state
