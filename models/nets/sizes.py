"""The sizes of latents and frames that networks take, known from their configs.

No torch: sizes are checked before it is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VID2VID = "Vid2VidUNet"  # the class in nets/vid2vid.py


@dataclass(frozen=True, slots=True)
class SideRule:
    """Legal are the numbers above 0 that leave `remainder` when divided by `multiple`."""

    multiple: int
    remainder: int = 0

    def near(self, side: int) -> list[int]:
        """The legal values next to `side`, itself if it is one."""
        side = max(side, 1)
        below = side - (side - self.remainder) % self.multiple
        values = [side] if below == side else [below, below + self.multiple]
        return [value for value in values if value > 0]

    def __str__(self) -> str:
        return f"{self.multiple}{f' plus {self.remainder}' if self.remainder else ''}"

    def within(self, side: int) -> int:
        """The largest legal value that is not above `side`, or the smallest one."""
        return self.near(side)[0]

    def times(self, factor: int) -> "SideRule":
        """The rule of pixels, `factor` for each latent. They are even: video formats halve their colour planes."""
        multiple = max(2, self.multiple * factor)
        return SideRule(multiple, self.remainder * factor % multiple)


@dataclass(frozen=True, slots=True)
class SizeRule:
    """The legal heights and widths."""

    height: SideRule
    width: SideRule

    def broken(self, height: int, width: int) -> dict[str, str]:
        """The rules that illegal sides break, by the names of the sides."""
        sides = {"height": (self.height, height), "width": (self.width, width)}
        return {name: _must(rule, side) for name, (rule, side) in sides.items() if rule.near(side) != [side]}

    def within(self, height: int, width: int) -> tuple[int, int]:
        """The largest legal height and width that are not above these, or the smallest ones."""
        return self.height.within(height), self.width.within(width)

    def __str__(self) -> str:
        one_rule = self.height == self.width
        return (
            f"both sides multiples of {self.width}"
            if one_rule
            else f"heights multiples of {self.height}, widths of {self.width}"
        )

    def near(self, height: int, width: int) -> tuple[int, int]:
        """The legal height and width next to these."""
        sides = (self.height, height), (self.width, width)
        tall, wide = (min(rule.near(side), key=lambda legal: abs(legal - side)) for rule, side in sides)
        return tall, wide

    def times(self, factor: int) -> "SizeRule":
        return SizeRule(self.height.times(factor), self.width.times(factor))


def latent_sizes(unet_class: str, unet: Mapping[str, Any]) -> SizeRule:
    """The latents that a UNet of this class and config takes. Raises KeyError for what the config lacks."""
    if unet_class != VID2VID:
        return SizeRule(SideRule(1), SideRule(1))
    multiple = 2 ** (len(unet["up_block_types"]) - 1)
    # n rows become n / 2 + 1 at each halving, and those 2 (n / 2 + 1) - 2 = n again: every n on the way has to be even.
    return SizeRule(height=SideRule(multiple, 2 % multiple), width=SideRule(multiple))


def frame_sizes(unet_class: str, unet: Mapping[str, Any], vae: Mapping[str, Any]) -> SizeRule:
    """The frames, in pixels, that a UNet takes through a VAE. Raises KeyError for what a config lacks."""
    return latent_sizes(unet_class, unet).times(vae_factor(vae))


def vae_factor(vae: Mapping[str, Any]) -> int:
    """Pixels of a frame's side for each latent, by a VAE's config."""
    return int(2 ** (len(vae["block_out_channels"]) - 1))


def _must(rule: SideRule, side: int) -> str:
    return f"must be a multiple of {rule}, such as {' or '.join(map(str, rule.near(side)))}"
