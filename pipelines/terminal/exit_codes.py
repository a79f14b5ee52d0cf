"""The exit codes of every command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script learns from the end of a command; the README has the same table."""

    DONE = 0
    FAILED = 1  # our failure, or that of a machine, a disk, a network
    INVALID = 2  # the request, before any work was done
    SOME_FAILED = 3  # done, but some rows or videos failed
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # kill, `ray job stop`


class Refused(ValueError):
    """Found impossible after the check and before any work: another job is using the folder, or Ray does not start."""
