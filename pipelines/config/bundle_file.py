"""bundle.json: what a bundle says about itself, beside its networks. All keys are optional.

    {"format": 1,
     "sources": [{"file": "streaming_t2v.ckpt", "bytes": 1, "sha256": "...", "parts": ["unet"]},
                 {"trained": "longtake train: 3000 steps ...", "from": "streaming_t2v.ckpt", "parts": ["cam"]}],
     "left_out": [{"tensor": "image_encoder.model.logit_scale", "reason": "..."}],
     "licences": [{"parts": ["unet"], "text": "..."}],
     "defaults": {"base.num_inference_steps": 50, "base.eta": 1.0}}

`defaults` are settings of videos under their dotted keys, weaker than a YAML file and stronger than the classes' own.
"""

import json
from pathlib import Path
from typing import Any

from longtake.models.domain.checks import FieldError

NAME = "bundle.json"
FORMAT = 1
TRAINED = "trained"  # the key of a source that is no file
LISTS = ("sources", "left_out", "licences")
SECTIONS = ("base", "opener", "plan", "refiner", "video")  # of defaults
PLACES = ("opener.model", "refiner.model")


def read_bundle_file(folder: Path) -> dict[str, Any]:
    """The content of a folder's bundle.json, checked but for the values of its defaults; empty if there is none.

    Raises ValueError naming file, key, value and rule.
    """
    path = folder / NAME
    try:
        data = json.loads(path.read_text("utf-8"), object_pairs_hook=_without_duplicates)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except FieldError as error:
        raise ValueError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not readable JSON ({error})") from None
    try:
        _check(data)
    except FieldError as error:
        raise ValueError(f"{path}: {error}") from None
    return dict(data)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise FieldError.of(key, value, "the key is there twice")
        data[key] = value
    return data


def _check(data: Any) -> None:
    """Raises FieldError."""
    known = ("format", *LISTS, "defaults")
    if not isinstance(data, dict):
        raise FieldError("content", f"={data!r:.80} must be an object with the keys {', '.join(known)}")
    for key, value in data.items():
        if key not in known:
            raise FieldError.of(key, value, f"is not a key of this file; known are {', '.join(known)}")
        if key in LISTS and not (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
            raise FieldError.of(key, value, "must be a list of objects")
    if data.get("format", FORMAT) != FORMAT:
        raise FieldError.of("format", data["format"], f"must be {FORMAT}, which is what this version reads")
    defaults = data.get("defaults", {})
    if not isinstance(defaults, dict):
        raise FieldError.of("defaults", defaults, "must be an object of dotted settings")
    for key, value in defaults.items():
        section, dot, name = key.partition(".")
        if not dot or not name or section not in SECTIONS:
            raise FieldError.of(key, value, f"is no default of a bundle: only {', '.join(SECTIONS)} have them")
        if key in PLACES:
            rule = f"names a place on one machine; a bundle has this model in its folder {section}/"
            raise FieldError.of(key, value, rule)
