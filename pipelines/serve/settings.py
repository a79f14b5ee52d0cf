"""Settings of the endpoint, beyond the configuration of its videos."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

from longtake.models.domain.checks import require
from longtake.models.domain.prompt import Settings
from longtake.models.domain.scheduler import Coupling
from longtake.models.video.fit import Size
from longtake.pipelines.config.conf import DEFAULT_CONFIG, Conf, bundle_defaults
from longtake.pipelines.config.loader import compose
from longtake.pipelines.runners.bundle_limits import BundleLimits


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
    # Together they bound the longest call: `plan.window_frames` x `max_pixels` x `refiner.steps_per_task`, or
    # `plan.chunk_frames` x `max_pixels` x `max_steps`. Each holds for the frames of both stages.
    max_pixels: int = 1280 * 720  # of a frame
    max_side: int = 2048  # pixels: width or height of a frame
    max_aspect: float = 4.0  # the longer side divided by the shorter one
    max_steps: int = 100  # denoising steps of the base model
    # Frames x computed pixels of a frame x steps, of both stages. The default: 2400 frames of 1280x720 with the tiny
    # bundle's steps, from its base model.
    max_cost: int = 7 * 10**9
    max_body_bytes: int = 65536  # of a request without a file; and of all other fields of one with a file
    # Of a request with a file: a picture to begin with, or a video to continue. It is on disk while it comes in, and
    # in memory while it is stored. JSON may have an eighth of it, if the value of `input_reference` is as long.
    max_upload_bytes: int = 2**26
    # Such requests that come in at the same time, and as many whose files are read. A key has at most as many of them
    # as it leaves free for others: alone it can have half of them.
    max_uploads: int = 4
    max_streams: int = 64  # open connections that receive video; one that receives events counts as a quarter
    expires_s: int = 86400  # finished videos are kept this long
    max_disk_bytes: int = 20 * 2**30  # of all videos; beyond it the oldest of the key that uses most are deleted
    cors_origins: tuple[str, ...] = ()  # pages that may use the API, such as https://example.org; "*" for any
    # Addresses or networks of proxies in front of the endpoint, such as 10.0.0.0/8: the `X-Forwarded-For` and
    # `X-Forwarded-Proto` of any other client are not believed.
    trusted_proxies: tuple[str, ...] = ()
    log_prompts: bool = False
    # A call of a video that was cancelled or deleted or has failed may still run this long; then its actor is killed
    # and restarted, which takes as long as when the endpoint starts. Calls of other videos go on.
    cancel_grace_s: float = 5.0
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
        for name in ("drain_s", "cancel_grace_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")
        if self.max_upload_bytes < self.max_body_bytes:
            rule = f"must be at least serve.max_body_bytes={self.max_body_bytes}"
            raise ValueError(f"max_upload_bytes={self.max_upload_bytes}: {rule}")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect={self.max_aspect} must be at least 1")
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                rule = "must be an IP address or a network, such as 10.0.0.0/8"
                raise ValueError(f"trusted_proxies={network}: {rule}") from None
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+", origin):
                rule = "must be a scheme and a host, such as https://example.org, without a path; or *"
                raise ValueError(f"cors_origins={origin}: {rule}")
        if self.keys_file is None and not is_loopback(self.host):
            raise ValueError(f"host={self.host}: other machines could connect; name a file of API keys, keys_file=PATH")

    def check_size(self, size: Size, field: str | None = None, of: str = "") -> None:
        """Raises FieldError for a frame that is too large or too narrow, for `field` or else for its longer side.

        `of` is the beginning of that side's name.
        """
        height, width = size
        longer, shorter, shape = max(size), min(size), f"{width}x{height}"
        value, this = (shape, "") if field else (longer, f"; this one is {shape}")
        field = field or f"{of}{'width' if width >= height else 'height'}"
        require(longer <= self.max_side, field, value, f"no side may exceed {self.max_side} pixels (serve.max_side)")
        rule = f"the longer side may be at most {self.max_aspect:g} times the shorter one (serve.max_aspect){this}"
        require(longer <= self.max_aspect * shorter, field, value, rule)
        rule = f"a frame may have at most {self.max_pixels} pixels (serve.max_pixels){this}"
        require(width * height <= self.max_pixels, field, value, rule)

    def check(self, conf: Conf, limits: BundleLimits, num_frames: int) -> None:
        """Raises FieldError, naming a field of a request, for a video beyond a limit. `conf` is the video's own."""
        rule = f"must be at most {self.max_frames} (serve.max_frames)"
        require(num_frames <= self.max_frames, "num_frames", num_frames, rule)
        rule = f"must be at most {self.max_steps} (serve.max_steps)"
        base_steps, refiner_steps = conf.base.num_inference_steps, conf.refiner.num_steps
        require(base_steps <= self.max_steps, "num_inference_steps", base_steps, rule)
        base, picture = limits.base_sizes.size(conf.base), limits.picture_size(conf)
        self.check_size(conf.refiner.size)
        self.check_size(base, of="base_")
        cost = num_frames * (picture[0] * picture[1] * refiner_steps + base[0] * base[1] * base_steps)
        rule = (
            f"{picture[1]}x{picture[0]} pixels x {refiner_steps} steps + {base[1]}x{base[0]} pixels x {base_steps} "
            f"steps, x {num_frames} frames, are {cost}, and at most {self.max_cost} are allowed (serve.max_cost): use "
            "fewer frames, smaller frames or fewer steps"
        )
        require(cost <= self.max_cost, "num_frames", num_frames, rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConf(Conf):
    """Conf and the settings of the endpoint; `longtake serve` accepts all of them as key=value."""

    serve: ServeParams = field(default_factory=ServeParams)


def load_serve(path: str | Path | None = None, overrides: Sequence[str] = (), settings: Settings = ()) -> ServeConf:
    """The settings of an endpoint. Raises ValueError naming key, value and rule."""
    return compose(ServeConf, path or DEFAULT_CONFIG, overrides, settings, partial(bundle_defaults, ServeConf))


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
