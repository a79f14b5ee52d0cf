"""The moving-shapes world: captions and their meaning, for training the tiny bundle and probing its videos.

    a {size} {color} {shape} {motion} over a {style} {background} background

A scene is on a torus: an object that leaves on one side enters on the other, so a video of any length is meaningful.
Lengths are fractions of the frame's side, times are frames, colours are RGB in 0-1.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.15, 0.80, 0.20),
    "blue": (0.15, 0.30, 0.95),
    "yellow": (0.95, 0.90, 0.15),
    "magenta": (0.90, 0.20, 0.85),
    "cyan": (0.15, 0.85, 0.90),
    "orange": (0.98, 0.55, 0.10),
    "white": (0.95, 0.95, 0.95),
}
BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "black": (0.05, 0.05, 0.05),
    "gray": (0.45, 0.45, 0.45),
    "navy": (0.08, 0.10, 0.35),
    "brown": (0.38, 0.22, 0.10),
    "olive": (0.35, 0.36, 0.10),
    "teal": (0.06, 0.35, 0.36),
}
PALETTES = {"color": (COLORS, "rgb"), "background": (BACKGROUNDS, "background_rgb")}  # and the field of a `Scene`
RADII: dict[str, tuple[float, float]] = {"small": (0.11, 0.14), "large": (0.20, 0.25)}
SHAPES = ("circle", "square", "triangle", "ring")
STYLES = ("plain", "gradient", "striped")
# The object starts on the side that it comes from. With random starts on a torus the direction word carries almost
# no information about the first frames, and a small network never learns it.
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
MOTIONS = (*(f"moves {direction}" for direction in DIRECTIONS), "bounces")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": tuple(RADII),
    "color": tuple(COLORS),
    "shape": SHAPES,
    "motion": MOTIONS,
    "style": STYLES,
    "background": tuple(BACKGROUNDS),
}
WORDS = sorted(
    {word for values in ATTRIBUTES.values() for value in values for word in value.split()} | {"a", "over", "background"}
)

GRAMMAR = "a {size} {color} {shape} {motion} over a {style} {background} background"

SPEED = (0.036, 0.045)  # sides per frame: 58 to 72 % of the frame in 16 frames
BOUNCE_PERIOD = 16  # frames from floor to floor


@dataclass(frozen=True, slots=True)
class Scene:
    """One world: its words, and the numbers that the words leave open."""

    size: str
    color: str
    shape: str
    motion: str
    style: str
    background: str
    radius: float
    rgb: tuple[float, float, float]
    background_rgb: tuple[float, float, float]
    start: tuple[float, float]
    speed: float
    angle: float  # radians: of the gradient, or of the stripes
    periods: int  # of the stripes
    phase: float  # of the stripes, radians

    def caption(self, without: frozenset[str] = frozenset()) -> str:
        """The prompt of this scene; `without` names attributes (size, style, background) to leave open."""
        size = "" if "size" in without else f"{self.size} "
        head = f"a {size}{self.color} {self.shape} {self.motion}"
        if "background" in without:
            return head
        style = "" if "style" in without else f"{self.style} "
        return f"{head} over a {style}{self.background} background"


def attributes_of(caption: str) -> dict[str, str]:
    """The words of a whole caption, by attribute. Raises ValueError for any other text."""
    words = {name: f"(?P<{name}>{'|'.join(values)})" for name, values in ATTRIBUTES.items()}
    found = re.fullmatch(GRAMMAR.format(**words), caption)
    if found is None:
        raise ValueError(f"caption={caption!r} must be: {GRAMMAR}")
    return found.groupdict()


def nearest_word(palette: Mapping[str, tuple[float, float, float]], word: str) -> str:
    """The other word of a palette with the nearest colour: the reading of a picture whose colour is a little off."""
    return min(palette.keys() - {word}, key=lambda other: (math.dist(palette[other], palette[word]), other))


def sample_scene(rng: np.random.Generator, **fixed: str) -> Scene:
    """A scene at random; `fixed` words (size=, color=, ...) are taken as given."""
    words = {name: fixed.get(name, values[int(rng.integers(len(values)))]) for name, values in ATTRIBUTES.items()}
    return Scene(
        **words,
        radius=float(rng.uniform(*RADII[words["size"]])),
        rgb=_near(rng, COLORS[words["color"]], 0.05),
        background_rgb=_near(rng, BACKGROUNDS[words["background"]], 0.04),
        start=_start(rng, words["motion"]),
        speed=float(rng.uniform(*SPEED)),
        angle=_angle(rng, words["style"]),
        periods=int(rng.integers(2, 5)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def _near(rng: np.random.Generator, rgb: tuple[float, float, float], spread: float) -> tuple[float, float, float]:
    red, green, blue = np.clip(np.asarray(rgb) + rng.uniform(-spread, spread, 3), 0, 1)
    return float(red), float(green), float(blue)


def _angle(rng: np.random.Generator, style: str) -> float:
    """Any angle for a gradient; 0, 45 or 90 degrees for stripes, which then close on the torus."""
    return float(rng.integers(3)) * np.pi / 4 if style == "striped" else float(rng.uniform(0, 2 * np.pi))


def _start(rng: np.random.Generator, motion: str) -> tuple[float, float]:
    """Where the centre is at frame 0: in the third that the object comes from; near the centre if it bounces."""
    if motion == "bounces":
        return float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.62, 0.72))
    dx, dy = DIRECTIONS[motion.split()[1]]
    along, across = rng.uniform(0.08, 0.30), rng.uniform(0.25, 0.75)
    along = along if dx + dy > 0 else 1 - along
    return (float(along), float(across)) if dx else (float(across), float(along))


def center(scene: Scene, frames: np.ndarray) -> np.ndarray:
    """Centre (x, y) of the object, (t, 2), on the torus, at the given frame numbers."""
    x, y = scene.start
    if scene.motion == "bounces":
        height = 0.34 * np.abs(np.sin(np.pi * frames / BOUNCE_PERIOD))
        return np.stack([np.full(len(frames), x), y - height], 1)
    dx, dy = DIRECTIONS[scene.motion.split()[1]]
    return np.stack([x + dx * scene.speed * frames, y + dy * scene.speed * frames], 1) % 1.0
