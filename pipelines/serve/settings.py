"""Settings of the endpoint, beyond the configuration of its videos."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from longtake.models.domain.prompt import Settings
from longtake.models.domain.scheduler import Coupling
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf
from longtake.pipelines.config.loader import compose


@dataclass(frozen=True, slots=True)
class ServeParams:
    """The endpoint's own settings: `serve.KEY=VALUE`."""

    host: str = "127.0.0.1"
    port: int = 8000
    takes: str = "takes"  # folder on any fsspec path: state and files of every video
    keys_file: str | None = None  # API keys, one a line, `#` begins a comment; None: no keys, on loopback only
    coupling: Coupling = Coupling.CAUSAL  # default of a request: viewers want early segments
    in_flight: int = 2  # maximum number of videos in progress
    max_queued: int = 16  # maximum number of waiting videos; further ones are refused
    max_running_per_key: int = 4  # unfinished videos, in progress or waiting
    requests_per_minute: int = 600  # per key, or per address when there are no keys
    max_frames: int = 2400
    max_prompt_chars: int = 2000
    max_cues: int = 64  # prompts of a video
    max_pixels: int = 1280 * 720  # of a frame
    max_steps: int = 100  # denoising steps of the base model
    max_body_bytes: int = 65536
    max_streams: int = 64  # open connections that receive bytes or events
    expires_s: int = 86400  # finished videos are kept this long
    max_disk_bytes: int = 20 * 2**30  # of all videos; the oldest finished ones are deleted first
    cors_origins: tuple[str, ...] = ()
    log_prompts: bool = False
    drain_s: float = 20.0  # at shutdown: time for running work to be saved

    def __post_init__(self) -> None:
        zero_allowed = {"port", "max_queued"}
        for f in fields(self):
            if type(value := getattr(self, f.name)) is int and value < 1 and f.name not in zero_allowed:
                raise ValueError(f"{f.name}={value} must be at least 1")
        if self.max_queued < 0:
            raise ValueError(f"max_queued={self.max_queued} must be at least 0")
        if not 0 <= self.port < 65536:
            raise ValueError(f"port={self.port} must be from 0 to 65535; 0 picks a free port")
        if self.drain_s < 0:
            raise ValueError(f"drain_s={self.drain_s} must be at least 0")
        if self.keys_file is None and not is_loopback(self.host):
            raise ValueError(f"host={self.host}: other machines could connect; name a file of API keys, keys_file=PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConf(Conf):
    """Conf and the settings of the endpoint; `longtake serve` accepts all of them as key=value."""

    serve: ServeParams = field(default_factory=ServeParams)


def load_serve(path: str | Path | None = None, overrides: Sequence[str] = (), settings: Settings = ()) -> ServeConf:
    """The settings of an endpoint. Raises ValueError naming key, value and rule."""
    return compose(ServeConf, path or DEFAULT_CONFIG, overrides, settings)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
