"""Text into Params: one YAML file, dotted overrides on top, any frozen dataclass below.

Here is only what turns text into values; ranges are checked by the Params themselves. What cannot be turned is a
ValueError that names key, value and rule.
"""

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

P = TypeVar("P")


def compose(cls: type[P], path: str | Path, overrides: Sequence[str] = ()) -> P:
    """The dataclass `cls` from a YAML file and overrides such as `refiner.strength=0.5`.

    Annotations may be bool, int, float, str, an Enum, a tuple of these, another dataclass, and any of them or None.
    Raises ValueError naming the file (and line) or the key, the value and the rule.
    """
    data = _read(Path(path))
    for override in overrides:
        _set(data, override)
    return _build(cls, data, "")


def amend(params: P, overrides: Sequence[str]) -> P:
    """`params` with overrides on top. Raises ValueError as `compose` does."""
    data = asdict(typing.cast(Any, params))
    for override in overrides:
        _set(data, override)
    return _build(type(params), data, "")


def from_plain(cls: type[P], data: Mapping[str, Any]) -> P:
    """The dataclass `cls` of plain values, such as JSON holds. Raises ValueError as `compose` does."""
    return _build(cls, data, "")


def flatten(params: Any, at: str = "") -> dict[str, Any]:
    """Dotted keys and plain values of a dataclass: what `amend` takes, and people read."""
    flat: dict[str, Any] = {}
    for f in fields(params):
        value = getattr(params, f.name)
        if is_dataclass(value):
            flat |= flatten(value, f"{at}{f.name}.")
        else:
            flat[at + f.name] = value.value if isinstance(value, Enum) else value
    return flat


class _Text(str):
    """An override's value: it is read as YAML once the type of its key is known."""


class _Loader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: the second would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands here twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[Any, Any]:
    try:
        data = yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise ValueError(f"config={path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"config={path} is not a text file in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"config={path}{line} is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"config={path} is not valid YAML: {' '.join(str(error).split())}") from None
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"config={path} must hold lines of key: value, not {_kind(data)}")
    return data or {}


def _set(data: dict[Any, Any], override: str) -> None:
    """Puts `a.b=value` into nested dictionaries."""
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ValueError(f"override={override!r} must look like section.key=value")
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(data.get(section), dict):
            data[section] = {}
        data = data[section]
    data[last] = _Text(value)


def _build(cls: type[P], data: Mapping[Any, Any], at: str) -> P:
    """The dataclass `cls` of a mapping; `at` is its dotted place, with a dot at the end, or nothing for the root."""
    settings = {f.name: f for f in fields(typing.cast(Any, cls)) if f.init}
    for key, value in data.items():
        if key not in settings:
            close = get_close_matches(str(key), settings, n=1)
            guess = f"did you mean {at}{close[0]}? " if close else ""
            raise ValueError(f"{at}{key}={_show(value)} is not a setting; {guess}known here: {', '.join(settings)}")
    for name, f in settings.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{at}{name} is missing: it has no default")
    hints = typing.get_type_hints(cls)
    values = {key: _convert(hints[key], value, f"{at}{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:  # the class's own rule: it names its field, here is where the section is known
        raise ValueError(f"{at}{error}" if str(error).startswith(tuple(settings)) else f"{at[:-1]}: {error}") from None


def _convert(hint: Any, value: Any, key: str) -> Any:
    """`value`, as YAML gave it, as the type `hint`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (arg for arg in args if arg is not type(None))
        is_none = value is None or (isinstance(value, _Text) and value.lower() in ("null", "none", "~"))
        return None if is_none else _convert(inner, value, key)
    if is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return _build(hint, value, f"{key}.")
        raise ValueError(f"{key}={_show(value)} is a section; set one of its keys: {key}.KEY=value")
    if isinstance(value, _Text):
        value = str(value) if hint is str else _parse(value, key)
    if origin is tuple and isinstance(value, list | tuple):
        inner = (args[0],) * len(value) if args[1:] == (...,) else args
        if len(inner) == len(value):
            return tuple(_convert(h, v, f"{key}[{i}]") for i, (h, v) in enumerate(zip(inner, value, strict=True)))
        raise ValueError(f"{key}={_show(value)} must have {len(inner)} values, not {len(value)}")
    if isinstance(hint, type) and issubclass(hint, Enum):
        for member in hint:
            if member.value == value:
                return member
        raise ValueError(f"{key}={_show(value)} must be one of {', '.join(str(member.value) for member in hint)}")
    if hint is float:
        return _float(value, key)
    if type(value) is hint:  # isinstance would let true pass for 1
        return value
    rule = {int: "a whole number", str: "text", bool: "true or false"}.get(hint, "a list")
    raise ValueError(f"{key}={_show(value)} must be {rule}, not {_kind(value)}")


def _float(value: Any, key: str) -> float:
    """A finite number, also `1e-3`, which YAML 1.1 takes for text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key}={_show(value)} must be a finite number")
    return number


def _parse(text: str, key: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, TypeError, RecursionError):  # also `{[a]: 1}`, and brackets without end
        raise ValueError(f"{key}={text} is not a valid YAML value") from None


def _kind(value: Any) -> str:
    names = {type(None): "nothing", str: "text", list: "a list", dict: "a section", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")


def _show(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else repr(value)
