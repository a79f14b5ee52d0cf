"""Targets of the shipped weights: lines with a metric, its target, the measurement, and whether the target is met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longtake.models.metrics.bootstrap import Interval
from longtake.pipelines.ablation.statistics import METRICS, Estimate, ResultRow, difference, mean

Rows = Mapping[str, Sequence[ResultRow]]


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the table: a metric, its target and the measurement."""

    metric: str
    target: str
    measured: str
    met: bool

    def __str__(self) -> str:
        return f"| {self.metric} | {self.target} | {self.measured} | {'yes' if self.met else '**no**'} |"


def attribute_targets(rows: Rows) -> list[Target]:
    """Attributes that the finished video shows, at its start, at the end of 80 frames and of 240."""
    lines = []
    names = (("color", "colour"), ("background", "background"), ("shape", "shape"), ("motion", "direction"))
    least = {"color": (97, 95, 90), "background": (97, 95, 90), "shape": (85, 80, 70), "motion": (85, 80, 75)}
    for name, title in names:
        where = (("frames 0-15", "short", "start"), ("the end of 80", "short", "end"), ("the end of 240", None, "end"))
        for (place, run, end), target in zip(where, least[name], strict=True):
            if run is None:  # refining 240 frames takes minutes: most of the long videos are of low resolution
                parts = {"refined": ("long-refined", "symmetric"), "low resolution": ("long", "full")}
                estimates = {
                    what: _mean(rows[some], f"{name}_{end}", variant) for what, (some, variant) in parts.items()
                }
                measured = "; ".join(f"{what} {_share(estimate)}" for what, estimate in estimates.items())
                met = all(100 * estimate.mean >= target for estimate in estimates.values())
            else:
                estimate = _mean(rows[run], f"{name}_{end}", "symmetric")
                measured, met = _share(estimate), 100 * estimate.mean >= target
            lines.append(Target(f"{title} right, {place}", f">= {target} %", measured, met))
    return lines


def memory_targets(rows: Rows) -> list[Target]:
    """CAM holds neighbouring chunks together, APM the end to the beginning."""
    both = rows["no-cam"]
    cuts, seams = ([_mean(both, name, variant) for variant in ("full", "no-cam")] for name in ("scuts", "seam_ratio"))
    lines = [
        Target(
            "scene cuts in 80 frames, with CAM / without", "0 / more", _pair(cuts),
            cuts[0].mean < 0.05 < cuts[1].low,
        ),
        Target(
            "seam difference over inner difference, with CAM / without", "<= 1.5 / >= 3", _pair(seams),
            seams[0].mean <= 1.5 and seams[1].mean >= 3,
        ),
    ]  # fmt: skip
    for name, title in (("drift_color", "colour"), ("drift_sharpness", "texture (sharpness)")):
        gap = difference(rows["long"], METRICS[name], "no-apm", "full")
        ends = [_mean(rows["long"], name, variant) for variant in ("full", "no-apm")]
        assert gap is not None, "every prompt has both"
        measured = f"{_pair(ends, 4)}; difference {_number(gap, 4)}"
        lines.append(
            Target(
                f"drift of {title} over 240 frames, with APM / without",
                "lower with, apart from 0",
                measured,
                gap.low > 0,
            )
        )
    return lines


def refiner_targets(
    truth: Mapping[str, Interval], even: Sequence[ResultRow], noisy: Sequence[ResultRow]
) -> list[Target]:
    """Evenness of motion, at the defaults and as near to the paper as this refiner goes, and nearness to the truth."""
    default = (("independent", "shared-noise"), ("shared-noise", "symmetric"), ("shared-noise", "causal"))
    fresh = [(f"noisy-{greater}", f"noisy-{lesser}") for greater, lesser in default[:2]]
    lines = [_evener(even, greater, lesser) for greater, lesser in default]
    lines += [_evener(noisy, greater, lesser) for greater, lesser in fresh]
    for name, title, digits in (
        ("psnr", "PSNR, dB", 1),
        ("ssim", "SSIM", 3),
        ("edges", "sharpness of edges over truth's", 2),
        ("sharpness", "sharpness of whole frames over truth's", 2),
    ):
        ways = [truth[f"{name}_{way}"] for way in ("refined", "bilinear")]
        measured = " / ".join(_number(_of(way), digits) for way in ways)
        gain = _of(truth[f"{name}_gain"])
        lines.append(Target(f"{title}: refined / bilinear", "better", measured, gain.low > 0))
    return lines


def _evener(rows: Sequence[ResultRow], greater: str, lesser: str) -> Target:
    gap = difference(rows, METRICS["flow_std"], greater, lesser)
    assert gap is not None, "every prompt has both"
    measured = f"difference {_number(gap, 3)} px"
    return Target(f"flow's standard deviation: {greater} > {lesser}", "apart from 0", measured, gap.low > 0)


def network_targets(
    vae: Mapping[str, Interval], swaps: Mapping[str, Interval], costs: Mapping[str, float]
) -> list[Target]:
    """Quality and cost of the networks."""
    lines = [
        Target(f"VAE at {size} px, dB", ">= 32", _number(_of(vae[f"psnr_{size}"]), 1), vae[f"psnr_{size}"][0] >= 32)
        for size in (64, 128)
    ]
    shapes = [_of(vae[f"shape_{what}"]) for what in ("vae", "true")]
    lines.append(
        Target("shape read after the VAE / in the truth", ">= 95 % of it", " / ".join(map(_share, shapes)),
            shapes[0].mean >= 0.95 * shapes[1].mean)
    )  # fmt: skip
    for name, gap in swaps.items():
        measured = _number(_of(gap), 4)
        lines.append(Target(f"rise of the loss at t = 999 with a wrong {name}", "> 0", measured, gap[1] > 0))
    limits = (("bundle_mb", "bundle, MB", 25), ("chunk_s", "chunk, s", 1.5), ("window_s", "window, s", 3))
    return lines + [
        Target(f"{title}, on 2 cores", f"<= {limit}", f"{costs[name]:.2f}", costs[name] <= limit)
        for name, title, limit in limits
    ]


def step_targets(fast: Sequence[ResultRow], slow: Sequence[ResultRow]) -> list[Target]:
    """The effect of many more steps than the default of 8 and 3, on the same prompts."""
    lines = []
    for name, title in (("color", "colour"), ("background", "background"), ("shape", "shape"), ("motion", "direction")):
        few, many = (_mean(some, f"{name}_end", "symmetric") for some in (fast, slow))
        near = 100 * (many.mean - few.mean) <= 3
        measured = f"{_share(few)} / {_share(many)}"
        lines.append(
            Target(f"{title} right at the end of 80: 8 + 3 steps / 24 + 12", "within 3 points", measured, near)
        )
    return lines


def _mean(rows: Sequence[ResultRow], name: str, variant: str) -> Estimate:
    estimate = mean(rows, METRICS[name], variant)
    assert estimate is not None, f"no video of {variant} has {name}"
    return estimate


def _of(values: Interval) -> Estimate:
    return Estimate(*values, count=0, left_out=0)


def _share(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.0f} % ({100 * estimate.low:.0f}-{100 * estimate.high:.0f})"


def _number(estimate: Estimate, digits: int = 2) -> str:
    return f"{estimate.mean:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _pair(both: Sequence[Estimate], digits: int = 2) -> str:
    return " / ".join(_number(estimate, digits) for estimate in both)
