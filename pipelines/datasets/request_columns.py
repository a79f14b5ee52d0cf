"""The columns of a manifest that say what a video was made from: its cues as text, and the hash of all of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from longtake.models.domain.prompt import Cue
from longtake.pipelines.config.provenance import comparable_text

ASKED = ["prompt", "cues", "negative_prompt", "num_frames", "seed", "asked_seed", "settings"]
ASKED += ["image_sha256", "extends_version", "extends_frames"]


def cues_text(cues: Sequence[Cue]) -> str | None:
    """The value of the column `cues`: a JSON list of {from_frame, prompt}, or None without cues."""
    return json.dumps([asdict(cue) for cue in cues], ensure_ascii=False) if cues else None


def read_cues(text: str | None) -> tuple[Cue, ...]:
    """Inverse of `cues_text`."""
    return tuple(Cue(**cue) for cue in json.loads(text or "[]"))


def request_hash(row: Mapping[str, Any]) -> str:
    """sha256 of all that a row of prompts asked for: texts, length, seed, settings of the frames, a picture or a video.

    `row` has the fields ASKED of a VideoRow. A model is the same wherever it lies; the length is that of the frames to
    be made.
    """
    seed = row["seed"] if row["asked_seed"] is None else row["asked_seed"]
    num_frames = row["num_frames"] if row["extends_frames"] is None else row["num_frames"] - row["extends_frames"]
    settings = comparable_text(row["settings"])
    asked = [row["prompt"], row["cues"], row["negative_prompt"], num_frames, seed, settings]
    # Without a picture or a video it is as it was before there were any.
    asked += [row["image_sha256"]] if row["image_sha256"] is not None else []
    asked += [["video", row["extends_version"]]] if row["extends_version"] is not None else []
    return sha256(json.dumps(asked).encode()).hexdigest()
