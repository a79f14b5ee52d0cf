"""What keeps Ray from starting: found in advance where possible, otherwise explained in one line afterwards."""

import os
import secrets
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from longtake.pipelines.terminal.exit_codes import Refused

# FOLDER/session_2026-11-28_19-45-03_123456_4194304/sockets/plasma_store has to fit into the 107 bytes of an address.
MAX_FOLDER_BYTES = 107 - len("/session_2026-11-28_19-45-03_123456_4194304/sockets/plasma_store")
MIN_FREE_BYTES = 64 << 20  # for the logs and sockets of a session
ANSWER_S = 10.0  # for a cluster that is just starting
SHORT = Path("/tmp/ray")


def temp_folder(env: Mapping[str, str], system: str | None = None) -> Path:
    """The folder for Ray's sessions: Ray's own choice, or a short one if TMPDIR is too long.

    Raises Refused for a folder that Ray cannot use, naming it and the variable.
    """
    own = env.get("RAY_TMPDIR")
    folder = Path(own or system or tempfile.gettempdir()) / "ray"
    if len(os.fsencode(folder)) > MAX_FOLDER_BYTES:
        if own:
            most = MAX_FOLDER_BYTES - len("/ray")
            raise Refused(f"RAY_TMPDIR={own}: too long for the addresses of Ray's sockets; at most {most} bytes")
        folder = SHORT
    name = "RAY_TMPDIR" if own else "TMPDIR"
    _check(folder, name)
    return folder


def _check(folder: Path, name: str) -> None:
    other = f"set {name} to another folder" if name == "RAY_TMPDIR" else "set TMPDIR or RAY_TMPDIR to another folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{secrets.token_hex(4)}"
        probe.write_bytes(b"longtake")
        probe.unlink()
    except OSError as error:
        raise Refused(f"{folder}: Ray cannot write there ({error.strerror}); {other}") from None
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < MIN_FREE_BYTES:
        free = room.f_bavail * room.f_frsize >> 20
        raise Refused(f"{folder}: the disk is full ({free} MiB free), and Ray keeps its session files there; {other}")


def why_no_start(error: BaseException, folder: Path, timeout_s: float) -> str:
    """One line for an error of a `ray.init` that starts a cluster here."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "timed out" in text.lower() or "timeout" in text.lower():
        hint = f"raise ray.start_timeout_s={timeout_s:g}, or see {folder}/session_latest/logs"
    elif "No space left" in text:
        hint = "free some space, or set RAY_TMPDIR to a folder on another disk"
    elif "in use" in text or "port" in text.lower():
        hint = "another program is using one of Ray's ports"
    else:
        hint = f"see {folder}/session_latest/logs"
    return f"Ray cannot start here: {text[:300]} ({hint})"


def check_answers(address: str, setting: str, patience_s: float = ANSWER_S) -> None:
    """Raises Refused if nothing listens at host:port; Ray itself would wait for minutes and ignore signals."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto`, or what Ray refuses itself
    until = time.monotonic() + patience_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=patience_s).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > until:
                raise Refused(why_no_answer(address, setting, error)) from None
        time.sleep(0.5)


def why_no_answer(address: str, setting: str, error: BaseException) -> str:
    """One line for an error of a `ray.init` that joins the cluster at `address`, the value of `setting`."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    stop = "; unset it to start a cluster here" if setting == "RAY_ADDRESS" else ""
    return f"{setting}={address}: no Ray cluster answers there ({text}){stop}"
