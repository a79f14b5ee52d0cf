"""Settings from text: a YAML file and dotted overrides become frozen dataclasses.

This module checks keys and types; ranges are checked by the dataclasses themselves. Every error names key, value and
rule. Only a command line and a file hold text: settings of a single video are typed (`amend`).

Two libraries were tried on tests/pipelines/config/test_loader.py. Import time does not decide (.08 s of CPU each):
- pydantic 2.14, TypeAdapter in strict mode: it ignores an unknown key of a plain dataclass, accepts .inf and refuses
  1e-3 and name=123. To forbid unknown keys, every Params class in models/ would need a pydantic config.
- OmegaConf 2.4: it takes flag=1 for true, accepts .inf, and reports the rule of a class without its section.
With either one the walk over the fields below would stay: the type of a key decides how its text is read, and an error
names key, value and rule.
"""

import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from longtake.models.domain.checks import FieldError
from longtake.models.domain.prompt import Settings, Value

P = TypeVar("P")

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_DECIMAL = re.compile(r"[-+]?[0-9][0-9_]*")


def compose(
    cls: type[P],
    path: str | Path,
    overrides: Sequence[str] = (),
    settings: Settings = (),
    beneath: Callable[[Mapping[Any, Any]], Mapping[str, Any]] = lambda given: {},
) -> P:
    """The dataclass `cls` from a YAML file, typed settings, and overrides such as `refiner.strength=0.5` on top.

    `beneath` makes, from the nested values that are given, weaker ones under dotted keys.
    Annotations may be bool, int, float, str, an Enum, a tuple of these, another dataclass, and any of them or None.
    Raises ValueError naming the file and line, or FieldError with the dotted key.
    """
    data = _read(Path(path))
    for key, value in settings:
        _set(data, key, value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"override={override!r} must look like section.key=value")
        _set(data, key, _Text(text))
    for key, value in beneath(data).items():
        _set(data, key, value, weak=True)
    return _build(cls, data, "")


def amend(params: P, settings: Settings) -> P:
    """`params` with other values for some dotted keys. Raises ValueError as `compose` does."""
    data = asdict(typing.cast(Any, params))
    for key, value in settings:
        _set(data, key, value)
    return _build(type(params), data, "")


def parse_value(cls: type, key: str, text: str) -> Value:
    """The plain value of `text`, as an override of the dotted `key` of `cls` gives it.

    Raises FieldError for a text that is no value of this key. An unknown key keeps its text: `amend` refuses it.
    """
    hint: Any = cls
    for name in key.split("."):
        hint = typing.get_type_hints(hint).get(name) if is_dataclass(hint) else None
    value = text if hint is None else _convert(hint, _Text(text), key)
    return value.value if isinstance(value, Enum) else typing.cast(Value, value)


def from_plain(cls: type[P], data: Mapping[str, Any]) -> P:
    """The dataclass `cls` from plain values, such as JSON holds. Raises ValueError as `compose` does."""
    return _build(cls, data, "")


def flatten(params: Any, at: str = "") -> dict[str, Any]:
    """Dotted keys and plain values of a dataclass."""
    flat: dict[str, Any] = {}
    for f in fields(params):
        value = getattr(params, f.name)
        if is_dataclass(value):
            flat |= flatten(value, f"{at}{f.name}.")
        else:
            flat[at + f.name] = value.value if isinstance(value, Enum) else value
    return flat


class _Text(str):
    """The text of an override, which is read as YAML unless its key holds text."""


class _Loader(yaml.SafeLoader):
    """YAML that refuses duplicate keys, of which SafeLoader lets the last one win, and reads numbers as people do.

    In YAML 1.1, 010 is eight and 1:30 is ninety. Here the first is ten, as in every other place where users write
    numbers, and the second a text.
    """

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode and implicit[0] and _DECIMAL.fullmatch(value):
            return _INT
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return self.DEFAULT_SCALAR_TAG if tag in (_INT, _FLOAT) and ":" in value else tag

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        is_decimal = _DECIMAL.fullmatch(node.value)
        return int(node.value.replace("_", "")) if is_decimal else super().construct_yaml_int(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_constructor(_INT, _Loader.construct_yaml_int)


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


def _set(data: dict[Any, Any], key: str, value: Any, weak: bool = False) -> None:
    """Puts the value of a dotted key into nested dictionaries; a weak one yields to whatever is there."""
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(data.get(section), dict):
            if weak and section in data:
                return
            data[section] = {}
        data = data[section]
    if not weak or last not in data:
        data[last] = value


def _build(cls: type[P], data: Mapping[Any, Any], at: str) -> P:
    """The dataclass `cls` from a mapping; `at` is its dotted place with a final dot, or empty for the root."""
    settings = {f.name: f for f in fields(typing.cast(Any, cls)) if f.init}
    for key, value in data.items():
        if key not in settings:
            close = get_close_matches(str(key), settings, n=1)
            guess = f"did you mean {at}{close[0]}? " if close else ""
            raise FieldError(
                f"{at}{key}", f"={_show(value)} is not a setting; {guess}known here: {', '.join(settings)}"
            )
    for name, f in settings.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise FieldError(f"{at}{name}", " is missing: it has no default")
    hints = typing.get_type_hints(cls)
    for key, value in data.items():
        if isinstance(value, str) and not value.strip() and settings[key].default != "":
            raise FieldError(f"{at}{key}", f"={value} is empty: it needs a value{_or_none(hints[key])}")
    values = {key: _convert(hints[key], value, f"{at}{key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise _placed(error, settings, at) from None


def _or_none(hint: Any) -> str:
    """Advice on writing "none", for a setting that may be absent."""
    return ", or null for none" if type(None) in typing.get_args(hint) else ""


def _placed(error: ValueError, names: Collection[str], at: str) -> ValueError:
    """The error of a class's own rule, which begins with the name of a field, under the dotted key of that field."""
    if isinstance(error, FieldError):
        return FieldError(f"{at}{error.field}", error.problem)
    text = str(error)
    name = max((name for name in names if text.startswith(name)), key=len, default=None)
    return FieldError(f"{at}{name}", text.removeprefix(name)) if name else ValueError(f"{at[:-1]}: {text}")


def _convert(hint: Any, value: Any, key: str) -> Any:
    """`value`, from YAML or plain, as the type `hint`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (arg for arg in args if arg is not type(None))
        is_none = value is None or (isinstance(value, _Text) and value.lower() in ("null", "none", "~"))
        return None if is_none else _convert(inner, value, key)
    if is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return _build(hint, value, f"{key}.")
        raise FieldError(key, f"={_show(value)} is a section; set one of its keys: {key}.KEY=value")
    if isinstance(value, _Text):
        value = str(value) if hint is str else _parse(value, key)
    if origin is tuple and isinstance(value, list | tuple):
        inner = (args[0],) * len(value) if args[1:] == (...,) else args
        if any(isinstance(item, str) and not item.strip() for item in value):
            raise FieldError(key, f"={_show(value)} has an empty item")
        if len(inner) == len(value):
            return tuple(_convert(h, v, f"{key}[{i}]") for i, (h, v) in enumerate(zip(inner, value, strict=True)))
        raise FieldError(key, f"={_show(value)} must have {len(inner)} values, not {len(value)}")
    if isinstance(hint, type) and issubclass(hint, Enum):
        for member in hint:
            if member.value == value:
                return member
        raise FieldError(key, f"={_show(value)} must be one of {', '.join(str(member.value) for member in hint)}")
    if hint is float:
        return _float(value, key)
    if type(value) is hint:  # isinstance would let true pass for 1
        return value
    rule = {int: "a whole number", str: "text", bool: "true or false"}.get(hint, "a list")
    raise FieldError(key, f"={_show(value)} must be {rule}, not {_kind(value)}")


def _float(value: Any, key: str) -> float:
    """A finite number. `1e-3` is text in YAML 1.1, and accepted."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise FieldError(key, f"={_show(value)} must be a finite number")
    return number


def _parse(text: str, key: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, TypeError, RecursionError):  # also `{[a]: 1}`, and brackets without end
        raise FieldError(key, f"={text} is not a valid YAML value") from None


def _kind(value: Any) -> str:
    names = {type(None): "nothing", str: "text", list: "a list", dict: "a section", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")


def _show(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else repr(value)
