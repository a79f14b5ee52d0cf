"""Networks that metrics are measured with: optical flow and CLIP."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from longtake.models.metrics.clip import Clip
from longtake.models.metrics.flow import Flow, dis, raft_large
from longtake.models.stages.bundle import load_bundle
from longtake.pipelines.config.model_folders import bundle_path
from longtake.pipelines.config.paths import BUNDLES
from longtake.pipelines.config.provenance import hash_of
from longtake.pipelines.runners.stages import quiet

RAFT_FILE = "raft_large_C_T_SKHT_V2-ff5fadd5.pth"  # torchvision's Raft_Large_Weights.DEFAULT
CLIP_PARTS = ("image_encoder", "text_encoder", "tokenizer")


def flow_name(flow: str, size: int) -> str:
    """The flow method for `flow`; `auto` is the best one that is installed and takes frames of `size` pixels a side.

    Raises ValueError for a method that is not installed or does not take them.
    """
    missing = _missing_raft()
    if size < 128 or size % 8:
        missing = f"size={size} must be a multiple of 8 and at least 128 for it"
    if flow == "auto":
        return "dis" if missing else "raft_large"
    if flow == "raft_large" and missing:
        raise ValueError(f"flow=raft_large: {missing}")
    return flow


def _missing_raft() -> str | None:
    """The reason why RAFT cannot be used, or None."""
    try:
        import torchvision.models.optical_flow  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return f"torchvision cannot be imported ({error})"
    weights = Path(torch.hub.get_dir(), "checkpoints", RAFT_FILE)
    return None if weights.is_file() else f"its weights are not at {weights}"


def load_flow(name: str) -> Flow:
    """The method with the name that `flow_name` returned."""
    if name == "dis":
        return dis()
    from torchvision.models.optical_flow import raft_large as build

    weights = Path(torch.hub.get_dir(), "checkpoints", RAFT_FILE)
    model = build(weights=None)
    model.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return raft_large(model.eval())


def clip_sha256(place: str) -> str:
    """A digest of the weights of `load_clip(place)`."""
    if not _is_bundle(place):
        return hash_of(Path(place))
    return sha256("".join(hash_of(bundle_path(place) / name) for name in CLIP_PARTS).encode()).hexdigest()


def _is_bundle(place: str) -> bool:
    return any((folder / "model_index.json").is_file() for folder in (BUNDLES / place, Path(place)))


def load_clip(place: str, allow_pickle: bool = False) -> Clip:
    """CLIP of a bundle (its name or folder), or from a folder of transformers. Raises ValueError naming `clip`."""
    quiet()
    if _is_bundle(place):
        keep = CLIP_PARTS.__contains__
        parts = load_bundle(bundle_path(place), keep=keep, required=(), allow_pickle=allow_pickle).parts
        if not set(CLIP_PARTS) <= set(parts):
            raise ValueError(f"clip={place}: the bundle has no {', '.join(set(CLIP_PARTS) - set(parts))}")
        return Clip(*(parts[name] for name in CLIP_PARTS))
    if not (Path(place) / "config.json").is_file():
        raise ValueError(f"clip={place} must be a bundle or a folder with a transformers CLIP model")
    # None: transformers takes a pickle, as tensors alone, where there is nothing else.
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": None if allow_pickle else True}
    image, text = (
        kind.from_pretrained(place, **options).eval()
        for kind in (CLIPVisionModelWithProjection, CLIPTextModelWithProjection)
    )
    return Clip(image, text, AutoTokenizer.from_pretrained(place, local_files_only=True))
