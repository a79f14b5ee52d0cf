"""Small videos and their evaluations."""

import numpy as np

from longtake.pipelines.evaluate.command import check
from longtake.pipelines.evaluate.measurer import Measurer
from longtake.pipelines.evaluate.settings import load_evaluate
from longtake.pipelines.files.video_file import VideoWriter
from tests.support.clips import translating

FAST = ("size=128", "clip=null", "tracking.enabled=false", "num_workers=1")


def videos(folder, speeds, offset=0):
    """Textures that move, 10 frames of 64 px each, and a table that gives them prompts and seeds."""
    folder.mkdir()
    for i, speed in enumerate(speeds):
        with VideoWriter(folder / f"{i}.mp4", 8) as writer:
            # What stands still is of one colour: of a texture, encoding alone would make it move.
            writer.write(
                translating(10, speed, 0, 64, seed=i + offset) if speed else np.full((10, 64, 64, 3), 90, np.uint8)
            )
    lines = [f"{i}.mp4,a texture,{i}" for i in range(len(speeds))]
    (folder / "metadata.csv").write_text("\n".join(["file_name,prompt,seed", *lines]) + "\n")
    return folder


def measured(folder, out, *overrides):
    conf = load_evaluate(overrides=[f"manifest={folder}", f"out={out}", *FAST, *overrides])
    prepared = check(conf)
    evaluation, measure = prepared.evaluation, Measurer(conf)
    evaluation.begin(prepared.settings)
    evaluation.add([measure(video) for video in prepared.videos])
    return evaluation
