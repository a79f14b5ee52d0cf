"""The schedule of sigmas: the share of picture and noise at each timestep, and the timesteps that are run.

    x_t = alpha_t x_0 + sigma_t noise,    alpha_t^2 + sigma_t^2 = 1,    k_t = sigma_t / alpha_t (k-diffusion's sigma)

Built from a diffusers scheduler config, computed in float64. A schedule is data: samplers are functions of it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
SPACINGS = ("leading", "trailing", "linspace")
# Each of these options would change the frames; the supported models use none of them.
UNSUPPORTED = (
    "clip_sample",
    "thresholding",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)

Table = Float64[np.ndarray, " levels"]
Timestep = int | float  # a whole number, but in a schedule that is `fractional`


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSchedule:
    """alpha and sigma of every discrete timestep, and the choice of timesteps.

    `drop_last`: one step more is laid out and the last is left out, so the step down to zero noise is a longer one.
    diffusers' DPM-Solver does so for leading and linspace spacing, MS-Vid2Vid-XL's 'fast' mode for its trailing one.
    `fractional`, `scale_start`: peculiarities of MS-Vid2Vid-XL's published sampler, see `from_config`.
    """

    alphas: Table
    sigmas: Table
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    final_alpha: float = 1.0  # of the level after the last timestep (DDIM; the multistep sampler always ends at 1)
    drop_last: bool = False
    fractional: bool = False
    scale_start: bool = False

    def __post_init__(self) -> None:
        if self.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type={self.prediction_type!r} must be one of {', '.join(PREDICTION_TYPES)}")
        if self.timestep_spacing not in SPACINGS:
            raise ValueError(f"timestep_spacing={self.timestep_spacing!r} must be one of {', '.join(SPACINGS)}")
        if self.prediction_type == "epsilon" and self.alphas[-1] == 0:
            raise ValueError(
                "prediction_type='epsilon' does not determine x0 at zero terminal SNR: use v_prediction or sample"
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], multistep: bool = False) -> "NoiseSchedule":
        """From a diffusers scheduler config, with DDIMScheduler's defaults; keys without influence here are ignored.

        Beyond diffusers there is `beta_schedule: logsnr_cosine_interp`, the table of MS-Vid2Vid-XL (zero terminal SNR).
        It has two options, true by default, that keep the behaviour of its published sampler: `fast_steps` (timesteps
        are not rounded, one step more is laid out and left out again) and `scale_start` (sampling starts from sigma * x
        instead of x).

        `multistep`: the timesteps of diffusers' `DPMSolverMultistepScheduler.from_config(config)`, whatever scheduler
        the config is of; that solver does not clip x0, and its spacing is linspace where the config has none.

        Raises ValueError for an unknown schedule of betas, spacing or kind of prediction, and for options that would
        change the frames and are not supported (clipping of x0, Karras sigmas ...).
        """
        if multistep:
            config = {**config, "_class_name": "DPMSolverMultistepScheduler", "clip_sample": False}
        unsupported = [key for key in UNSUPPORTED if config.get(key)]
        if unsupported:
            raise ValueError(
                f"{unsupported[0]}={config[unsupported[0]]!r} is not supported: it must be false or absent"
            )
        published = config.get("beta_schedule") == "logsnr_cosine_interp"
        alphas = _logsnr_cosine_alphas(config.get("num_train_timesteps", 1000)) if published else _beta_alphas(config)
        if config.get("rescale_betas_zero_snr", False) and not published:
            alphas = _zero_terminal_snr(alphas)
        is_solver = str(config.get("_class_name", "")).startswith("DPMSolver")
        spacing = config.get("timestep_spacing", "linspace" if is_solver else "leading")
        fast_steps = published and config.get("fast_steps", True)
        return cls(
            alphas=alphas,
            sigmas=np.sqrt(1 - alphas**2),
            prediction_type=config.get("prediction_type", "epsilon"),
            timestep_spacing=spacing,
            steps_offset=config.get("steps_offset", 0),
            final_alpha=1.0 if config.get("set_alpha_to_one", True) else float(alphas[0]),
            drop_last=(is_solver and spacing != "trailing") or fast_steps,
            fractional=fast_steps,
            scale_start=published and config.get("scale_start", True),
        )

    def timesteps(self, num_inference_steps: int, strength: float = 1.0) -> tuple[Timestep, ...]:
        """The timesteps of exactly `num_inference_steps` steps, falling.

        They start below the fraction `strength` of the noise levels (1 is pure noise, SDEdit uses less). They are whole
        numbers, but for a `fractional` schedule; networks get `round(t)`.
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength={strength} must be above 0 and at most 1")
        last = len(self.alphas) - 1
        levels = round(strength * len(self.alphas))
        limit = levels - self.drop_last
        if not 1 <= num_inference_steps <= limit:
            rule = f"must be in 1..{limit}, as strength={strength} leaves {levels} of {last + 1} noise levels"
            raise ValueError(f"num_inference_steps={num_inference_steps} {rule}")
        steps = self._spread(levels, num_inference_steps + self.drop_last)[:num_inference_steps]
        if steps[0] > last:
            raise ValueError(
                f"steps_offset={self.steps_offset} leads to timestep {steps[0]:.0f}, the last one is {last}"
            )
        return tuple(float(t) for t in steps) if self.fractional else tuple(int(t) for t in steps)

    def _spread(self, levels: int, count: int) -> Float64[np.ndarray, " count"]:
        """Table 2 of arXiv 2305.08891 as diffusers rounds it."""
        places = np.arange(count)
        if self.timestep_spacing == "trailing":
            steps = levels - places * (levels / count)
            return (steps if self.fractional else steps.round()) - 1.0
        if self.timestep_spacing == "leading":
            return (places[::-1] * (levels // count) + self.steps_offset).astype(np.float64)
        return np.linspace(0, levels - 1, count).round()[::-1]

    def level(self, timestep: Timestep) -> tuple[float, float]:
        """(alpha, sigma) at a timestep; between two timesteps of the table log k is interpolated."""
        low, high = math.floor(timestep), math.ceil(timestep)
        if low == high:
            return float(self.alphas[low]), float(self.sigmas[low])
        log_low, log_high = self._log_k(low), self._log_k(high)
        k = math.exp(log_low + (timestep - low) * (log_high - log_low))
        return 1 / math.hypot(1, k), k / math.hypot(1, k)

    def _log_k(self, timestep: int) -> float:
        # 2^-12 instead of 0: as diffusers does for its multistep solvers, so that k stays finite at zero SNR.
        return math.log(self.sigmas[timestep] / max(self.alphas[timestep], 2.0**-12))


def _beta_alphas(config: Mapping[str, Any]) -> Table:
    """sqrt of the cumulative product of 1 - beta."""
    num, start, end = (
        config.get("num_train_timesteps", 1000),
        config.get("beta_start", 0.0001),
        config.get("beta_end", 0.02),
    )
    name = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], np.float64)
    elif name == "linear":
        betas = np.linspace(start, end, num)
    elif name == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, num) ** 2
    elif name == "squaredcos_cap_v2":
        bars = np.cos((np.arange(num + 1) / num + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - bars[1:] / bars[:-1], 0.999)
    else:
        raise ValueError(
            f"beta_schedule={name!r} must be one of linear, scaled_linear, squaredcos_cap_v2, logsnr_cosine_interp"
        )
    alphas: Table = np.sqrt(np.cumprod(1 - betas))
    return alphas


def _logsnr_cosine_alphas(num: int) -> Table:
    """Cosine log-SNR from 15 to -15, between the shifts for 2 and for 4 times the resolution (arXiv 2301.11093)."""
    t = np.linspace(1, 0, num)
    least, most = math.atan(math.exp(7.5)), math.atan(math.exp(-7.5))
    cosine = -2 * np.log(np.tan(least + t * (most - least)))
    logsnr = cosine + t * 2 * math.log(1 / 2) + (1 - t) * 2 * math.log(1 / 4)
    sigmas = np.sqrt(1 / (1 + np.exp(logsnr)))
    # Here the sigmas are stretched to end at 1, instead of the alphas to end at 0.
    sigmas = sigmas[0] + (sigmas - sigmas[0]) * ((1 - sigmas[0]) / (sigmas[-1] - sigmas[0]))
    alphas: Table = np.sqrt(1 - np.minimum(sigmas, 1) ** 2)
    return alphas


def _zero_terminal_snr(alphas: Table) -> Table:
    """Shifted and stretched so that the first stays and the last is 0 (arXiv 2305.08891, algorithm 1)."""
    scaled: Table = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
    return scaled
