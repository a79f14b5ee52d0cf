"""Draws scenes of the moving-shapes world. Shapes: b scenes, t frames, h w pixels (square).

Every pixel's colour is a function of its place, the scene and the frame's number: soft-edged signed distances on a
torus, so that a frame looks alike at any resolution.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longtake.models.toy_world.world import Scene, center


def render(scenes: Sequence[Scene], frames: np.ndarray, size: int) -> Float[Tensor, "b t 3 {size} {size}"]:
    """RGB in 0-1. `frames` are frame numbers, (t,) for all scenes or (b, t) for each its own."""
    grid = (torch.arange(size) + 0.5) / size
    background = torch.stack([_background(scene, grid) for scene in scenes])  # b 3 h w
    rgb = torch.tensor([scene.rgb for scene in scenes])[:, None, :, None, None]
    mask = object_masks(scenes, frames, size)[:, :, None]  # b t 1 h w
    return background[:, None] * (1 - mask) + rgb * mask


def object_masks(scenes: Sequence[Scene], frames: np.ndarray, size: int) -> Float[Tensor, "b t {size} {size}"]:
    """The share of each pixel that the object covers, 0-1. `frames` as in `render`."""
    frames = np.broadcast_to(frames, (len(scenes), frames.shape[-1]))
    centers = torch.from_numpy(np.stack([center(s, f) for s, f in zip(scenes, frames, strict=True)])).float()
    grid = (torch.arange(size) + 0.5) / size
    dx, dy = _wrap(grid - centers[..., 0:1]), _wrap(grid - centers[..., 1:2])  # b t w, b t h
    return torch.stack([_mask(scene, dx[i], dy[i], size) for i, scene in enumerate(scenes)])


def object_mask(shape: str, radius: float, size: int) -> Float[Tensor, "{size} {size}"]:
    """The object's coverage, 0-1, with its centre in the middle of the frame."""
    axis = (torch.arange(size) + 0.5) / size - 0.5
    return _coverage(_distance(shape, radius, axis[None, None, :], axis[None, :, None]), size)[0]


def _mask(scene: Scene, dx: Tensor, dy: Tensor, size: int) -> Tensor:
    return _coverage(_distance(scene.shape, scene.radius, dx[:, None, :], dy[:, :, None]), size)


def _coverage(distance: Tensor, size: int) -> Tensor:
    return (0.5 - distance * size).clamp(0, 1)  # one pixel wide edge


def _wrap(offset: Tensor) -> Tensor:
    return (offset + 0.5) % 1.0 - 0.5


def _distance(shape: str, radius: float, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the edge. A square has the area of a circle of its radius, a triangle 60 % of it."""
    if shape == "circle":
        return torch.sqrt(x**2 + y**2) - radius
    if shape == "ring":
        return (torch.sqrt(x**2 + y**2) - 0.75 * radius).abs() - 0.25 * radius
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.89 * radius
    half = 1.2 * radius  # triangle, tip up; its three sides are at half this distance from the centre
    slope = (3**0.5 / 2) * x.abs() - 0.5 * y
    return torch.maximum(slope, y.expand_as(slope)) - 0.5 * half


def _background(scene: Scene, grid: Tensor) -> Float[Tensor, "3 h w"]:
    x, y = grid[None, :], grid[:, None]
    if scene.style == "gradient":
        along = (x - 0.5) * np.cos(scene.angle) + (y - 0.5) * np.sin(scene.angle)
        brightness = 0.85 + along / 2**0.5
    elif scene.style == "striped":
        # whole numbers of periods along both axes: the stripes close on the torus
        nx, ny = round(np.cos(scene.angle)) or 0, round(np.sin(scene.angle)) or 0
        brightness = 0.9 + 0.4 * torch.sin(2 * np.pi * scene.periods * (nx * x + ny * y) + scene.phase)
    else:
        brightness = torch.ones(1, 1)
    brightness = brightness.expand(len(grid), len(grid))
    image: Tensor = torch.tensor(scene.background_rgb)[:, None, None] * brightness
    return image.clamp(0, 1)
