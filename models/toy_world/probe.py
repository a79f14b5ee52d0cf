"""Reads the attributes of a moving-shapes video by image processing: no network, nothing learned.

The object's colours are bright (their greatest channel is above 0.75), backgrounds are not (below 0.62, gradients
included), so brightness alone separates the object from its background. Everything is circular: the world is a torus.
Shapes: t frames, h w rows and columns (square), c channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from longtake.models.toy_world.render import object_mask
from longtake.models.toy_world.world import BACKGROUNDS, COLORS, DIRECTIONS, RADII, SHAPES

SIZE = 64  # frames are probed at this size
MIN_AREA = 0.008  # of the frame: less does not count as an object
MIN_SPEED = 0.012  # sides per frame: less does not count as a direction


@dataclass(frozen=True, slots=True)
class Reading:
    """The attributes that a piece of video shows; None where they are unclear."""

    size: str | None
    color: str | None
    shape: str | None
    motion: str | None
    background: str | None


def probe(frames: UInt8[np.ndarray, "t h w c"]) -> Reading:
    """Colour, shape, size and background by the vote of the frames, motion by the path of the object's centre."""
    video = _resized(frames)
    cover = np.clip((video.max(-1) - 0.58) / 0.2, 0, 1)
    visible = cover.mean((1, 2)) > MIN_AREA
    shapes = [_best_template(mask) for mask, is_visible in zip(cover, visible, strict=True) if is_visible]
    return Reading(
        size=_vote([_size(radius) for _, radius in shapes]),
        color=_vote(
            [
                _color(*pair)
                for pair, is_visible in zip(zip(video, cover, strict=True), visible, strict=True)
                if is_visible
            ]
        ),
        shape=_vote([shape for shape, _ in shapes]),
        motion=_motion(cover[visible]) if visible.mean() > 0.8 else None,
        background=_background(video, cover),
    )


def circular_centers(cover: Float[np.ndarray, "t h w"]) -> Float[np.ndarray, "t 2"]:
    """Centre (x, y) of each frame's coverage on the torus, in sides of the frame."""
    angle = 2 * np.pi * (np.arange(cover.shape[-1]) + 0.5) / cover.shape[-1]
    wave = np.exp(1j * angle)
    x, y = (cover.sum(1) @ wave, cover.sum(2) @ wave)
    return np.stack([np.angle(x), np.angle(y)], 1) / (2 * np.pi) % 1.0


def _resized(frames: UInt8[np.ndarray, "t h w c"]) -> Float[np.ndarray, "t 64 64 c"]:
    images = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 255
    if images.shape[-2:] != (SIZE, SIZE):
        images = torch.nn.functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    return images.permute(0, 2, 3, 1).numpy()


def _motion(cover: Float[np.ndarray, "t h w"]) -> str | None:
    """A straight path has a direction; one that goes back and forth bounces."""
    step = np.diff(circular_centers(cover), axis=0)
    step = (step + 0.5) % 1.0 - 0.5
    drift, path = np.median(step, 0), np.abs(step).mean(0)
    axis = int(np.argmax(np.abs(drift)))
    if abs(drift[axis]) > MIN_SPEED and abs(step[:, axis].mean()) > 0.5 * path[axis]:
        for name, direction in DIRECTIONS.items():
            if direction[axis] == np.sign(drift[axis]):
                return f"moves {name}"
    return "bounces" if path[1] > MIN_SPEED and path[1] > path[0] else None


def _color(image: Float[np.ndarray, "h w c"], cover: Float[np.ndarray, "h w"]) -> str:
    core = image[cover >= min(0.9, np.quantile(cover, 0.98))]
    return _nearest(np.median(core, 0), COLORS)


def _background(video: Float[np.ndarray, "t h w c"], cover: Float[np.ndarray, "t h w"]) -> str | None:
    """By chromaticity: gradients and stripes change the brightness, not the hue."""
    grown = np.maximum.reduce([np.roll(cover, (dy, dx), (1, 2)) for dy in (-2, 0, 2) for dx in (-2, 0, 2)])
    pixels = video[grown < 0.05]
    if len(pixels) < 0.05 * grown.size:
        return None
    mean = pixels.mean(0)
    if mean.max() < 0.11:
        return "black"
    hues = {name: np.asarray(rgb) / np.linalg.norm(rgb) for name, rgb in BACKGROUNDS.items() if name != "black"}
    return _nearest(mean / np.linalg.norm(mean), hues)


def _nearest(value: Float[np.ndarray, " c"], palette: Mapping[str, Any]) -> str:
    """The name in `palette` (three numbers each) that is closest to `value`."""
    return min(palette, key=lambda name: float(np.sum((np.asarray(palette[name]) - value) ** 2)))


def _best_template(cover: Float[np.ndarray, "h w"]) -> tuple[str, float]:
    """Shape and radius whose drawing overlaps the coverage best, the object moved to the middle first."""
    x, y = circular_centers(cover[None])[0]
    places = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    middle = SIZE // 2
    shift = (middle - int(y * SIZE), middle - int(x * SIZE))
    moved = np.stack([np.roll(cover, (shift[0] + dy, shift[1] + dx), (0, 1)) for dy, dx in places])
    names, masks = _templates()
    overlap = np.einsum("phw,nhw->pn", moved, masks)
    union = cover.sum() + masks.sum((1, 2))[None] - overlap
    return names[int((overlap / union).max(0).argmax())]


@lru_cache(maxsize=1)
def _templates() -> tuple[list[tuple[str, float]], Float[np.ndarray, "n h w"]]:
    names = [(shape, float(radius)) for shape in SHAPES for radius in np.arange(0.08, 0.29, 0.015)]
    return names, np.stack([_centered(object_mask(shape, radius, SIZE).numpy()) for shape, radius in names])


def _centered(mask: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """The centre of mass in the middle: a triangle's is not where its centre is."""
    x, y = circular_centers(mask[None])[0]
    return np.roll(mask, (SIZE // 2 - int(y * SIZE), SIZE // 2 - int(x * SIZE)), (0, 1))


def _size(radius: float) -> str:
    return "small" if radius < (RADII["small"][1] + RADII["large"][0]) / 2 else "large"


def _vote(values: list[str]) -> str | None:
    return max(sorted(set(values)), key=values.count) if values else None
