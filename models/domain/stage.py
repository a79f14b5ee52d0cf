"""The interface of a stage."""

from typing import Any, Protocol


class Advances(Protocol):
    """A stage: a pure function of its arguments, which `longtake.models.domain.scheduler.Stage` lists."""

    def advance(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]: ...
