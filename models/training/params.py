"""Settings of a training. No torch here: a wrong setting is refused before torch is imported."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoopParams:
    """Length and speed of a training."""

    steps: int
    batch: int = 16  # of each worker
    learning_rate: float = 1e-3
    warmup: int = 50  # steps of linear warm-up; a cosine to a twentieth follows
    ema: float = 0.997  # decay of the average that is saved
    gate_every: int = 500  # steps between two measurements of the held-out gates
    checkpoint_s: float = 60.0  # seconds between two checkpoints: the most that a kill can cost

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("batch", 1), ("learning_rate", 0), ("warmup", 0), ("gate_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema={self.ema} must be at least 0 and less than 1")
        if self.checkpoint_s < 0:
            raise ValueError(f"checkpoint_s={self.checkpoint_s} must be at least 0")


@dataclass(frozen=True, slots=True)
class MemoryParams:
    """Settings of the training of CAM and APM. The shares of left-out inputs are the paper's."""

    loop: LoopParams
    held_out: int = 32  # clips for the gates, at most; never trained on
    image_tokens: int = 16
    merger_head_dim: int = 64
    condition_channels: tuple[int, ...] = (32, 96, 256, 512)  # of CAM's encoder: one more halves the frames once more
    text_dropped: float = 0.05
    anchor_dropped: float = 0.05
    both_dropped: float = 0.05
    without_cam: float = 0.1  # of the steps: APM alone has to remember
    base_frozen: bool = True  # as in the paper
    high_share: float = 0.0  # of the timesteps: in the noisiest tenth
    gate_rate: float = 10.0  # learning rate of APM's gates over that of the other weights

    def __post_init__(self) -> None:
        for name in ("text_dropped", "anchor_dropped", "both_dropped", "without_cam", "high_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be in 0..1")
        for name in ("held_out", "image_tokens", "merger_head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.condition_channels or min(self.condition_channels) < 1:
            raise ValueError(
                f"condition_channels={list(self.condition_channels)} must be numbers of channels, 1 or more"
            )
