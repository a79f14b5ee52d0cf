"""Errors that name a field, its value and the rule that the value breaks."""

import reprlib
from typing import Any

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 120  # values come from requests and may be long


class FieldError(ValueError):
    """A value that breaks a rule. The text is `field` followed by `problem`: `seed=-1: ...` or `seed is missing`.

    A caller that knows the field under another name can repeat the problem under that name; one that spells values in
    its own way has `value` and `rule`, which is None if the problem is not of that form.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)  # its arguments, so that it can be pickled
        self.field, self.problem = field, problem
        self.value: object = None
        self.rule: str | None = None

    @classmethod
    def of(cls, field: str, value: object, rule: str) -> "FieldError":
        error = cls(field, f"={_shown.repr(value)}: {rule}")
        error.value, error.rule = value, rule
        return error

    def __str__(self) -> str:
        return f"{self.field}{self.problem}"


def require(holds: bool, field: str, value: object, rule: str) -> None:
    """Raises FieldError unless `holds`."""
    if not holds:
        raise FieldError.of(field, value, rule)


def require_count(field: str, value: object, least: int = 1) -> None:
    """Raises FieldError unless `value` is a whole number of at least `least`."""
    holds = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(holds, field, value, f"must be a whole number of at least {least}")


def exact(value: object) -> Any:
    """An integer for a whole number that is written as a float; any other value unchanged.

    From 2**53 on, a float may stand for a different number from the one that was meant.
    """
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
