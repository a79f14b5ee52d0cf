"""The interface of a stage."""

from typing import Any, Protocol


class Stage(Protocol):
    """A pure function of its arguments, which are listed in models/domain/scheduler.py."""

    def advance(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]: ...
