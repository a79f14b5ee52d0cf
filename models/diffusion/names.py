"""Names of the samplers, without torch: a wrong one is refused before torch is imported."""

SAMPLERS = ("ddim", "dpmpp_2m", "dpmpp_2m_sde")


def check_sampler(name: str) -> None:
    """Raises ValueError for an unknown sampler."""
    if name not in SAMPLERS:
        raise ValueError(f"sampler={name!r} must be one of {', '.join(SAMPLERS)}")
