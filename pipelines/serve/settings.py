"""What the endpoint is asked for, beyond the configuration of its videos."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf
from longtake.pipelines.config.loader import compose


@dataclass(frozen=True, slots=True)
class ServeParams:
    """The endpoint's own settings, `serve.KEY=VALUE`."""

    host: str = "127.0.0.1"
    port: int = 8000
    takes: str = "takes"  # folder on any fsspec path: state and files of every video
    keys_file: str | None = None  # a key a line, `#` begins a comment; None: no keys, on loopback alone
    coupling: Coupling = Coupling.CAUSAL  # of videos that do not say: a viewer waits
    in_flight: int = 2  # videos in work at most
    max_queued: int = 16  # that wait; one more is refused
    max_running_per_key: int = 4  # videos in work or waiting
    requests_per_minute: int = 600  # of a key, or of an address where there are no keys
    max_frames: int = 2400
    max_prompt_chars: int = 2000
    max_cues: int = 64  # prompts in a schedule
    max_pixels: int = 1280 * 720  # of a frame
    max_steps: int = 100  # denoising steps of a stage
    max_body_bytes: int = 65536
    max_streams: int = 64  # connections that receive bytes or events at the same time
    expires_s: int = 86400  # a finished video is kept so long
    max_disk_bytes: int = 20 * 2**30  # of all videos; the oldest finished ones go first
    cors_origins: tuple[str, ...] = ()
    log_prompts: bool = False
    drain_s: float = 20.0  # on redeploy: for what runs to become whole

    def __post_init__(self) -> None:
        at_least_one = (
            "in_flight",
            "max_running_per_key",
            "requests_per_minute",
            "max_frames",
            "max_prompt_chars",
            "max_cues",
            "max_pixels",
            "max_steps",
            "max_body_bytes",
            "max_streams",
            "expires_s",
            "max_disk_bytes",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.max_queued < 0:
            raise ValueError(f"max_queued={self.max_queued} must be at least 0")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port={self.port} must be from 0 to 65535; 0 takes a free one")
        if self.drain_s < 0:
            raise ValueError(f"drain_s={self.drain_s} must be at least 0")
        if self.keys_file is None and not is_loopback(self.host):
            raise ValueError(f"host={self.host}: others could reach it; name a file of API keys, keys_file=PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConf(Conf):
    """Conf and the endpoint's settings; `longtake serve` takes all of them as key=value."""

    serve: ServeParams = field(default_factory=ServeParams)


def load_serve(path: str | Path = DEFAULT_CONFIG, overrides: Sequence[str] = ()) -> ServeConf:
    """The settings of an endpoint. Raises ValueError naming key, value and rule."""
    return compose(ServeConf, path, overrides)


def is_loopback(host: str) -> bool:
    """Only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
