"""Identifies a process to others; those on the same machine can see whether it is gone."""

import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GONE_STATES = "ZX"  # dead, or a zombie: killed, but its parent has not asked about it yet


@dataclass(frozen=True, slots=True)
class Owner:
    """A process: no two have ever had the same values."""

    host: str
    pid: int
    kernel: str = ""  # boot and namespace in which the pid counts; empty where /proc does not say
    started: str = ""  # clock ticks from the boot to its start, because pids are reused

    @classmethod
    def of(cls, data: Any) -> "Owner | None":
        """From JSON; None if it is not one."""
        with suppress(TypeError):
            return cls(**data)
        return None

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def is_alive(self) -> bool | None:
        """Whether it is running; None for a process of another machine or container, which cannot be known here."""
        if not self.kernel or self.kernel != _kernel():
            return None
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Owner:
    return Owner(socket.gethostname(), os.getpid(), _kernel(), _started(os.getpid()))


def _kernel() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> str:
    """Empty if there is no such process."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # its name may hold blanks
        return "" if state in GONE_STATES else fields[18]
    return ""
