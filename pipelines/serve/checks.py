"""Checks of the endpoint before anything is started, without torch or Ray."""

import socket
from dataclasses import replace

from longtake.models.domain.checks import FieldError, require
from longtake.pipelines.files.store import Store
from longtake.pipelines.runners.bundle_limits import BundleLimits, limits_of
from longtake.pipelines.serve.http.keys import read_keys
from longtake.pipelines.serve.library.takes import SETTING_KEYS
from longtake.pipelines.serve.settings import ServeConf

SETTINGS = {**SETTING_KEYS, "num_frames": "even num_frames"}  # in place of the fields of a request


def check(conf: ServeConf) -> ServeConf:
    """`conf` with the size of its frames. Raises ValueError, naming field, value and rule, for an endpoint that could
    not start."""
    limits = limits_of(conf)
    conf = limits.settled(conf)
    _check_defaults(conf, limits)
    read_keys(conf.serve.keys_file)
    Store(conf.serve.takes).check("serve.takes")
    return conf


def _check_defaults(conf: ServeConf, limits: BundleLimits) -> None:
    """A request that names only a prompt has to be within the limits."""
    try:
        conf.serve.check(conf, limits, 1)
    except FieldError as error:
        raise FieldError(SETTINGS[error.field], error.problem) from None
    if conf.opener.model is not None:
        steps, limit = conf.opener.sampling().num_inference_steps, conf.serve.max_steps
        require(steps <= limit, "opener.num_inference_steps", steps, f"must be at most {limit} (serve.max_steps)")


def check_port(conf: ServeConf) -> ServeConf:
    """`conf` with a free port in place of 0. Raises ValueError if its port is not free."""
    host, port = conf.serve.host, conf.serve.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended a moment ago do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(f"serve.host={host} serve.port={port} is not available ({error.strerror})") from None
        return replace(conf, serve=replace(conf.serve, port=probe.getsockname()[1]))
