"""JSON as clients send it: with a byte order mark, in UTF-8, 16 or 32, with numbers that keep their spelling."""

import json
import re
from typing import Any

from longtake.pipelines.serve.http.errors import ApiError, invalid

MAX_DIGITS = 400  # of a whole number; Python's own limit is 4300, and no field needs 20


class SentNumber(float):
    """A number with a decimal point or an exponent. It is shown as it was sent: 1e-7, 1e400, NaN."""

    def __new__(cls, text: str) -> "SentNumber":
        number = super().__new__(cls, text)
        number._text = text  # type: ignore[attr-defined]
        return number

    def __repr__(self) -> str:
        text: str = self._text  # type: ignore[attr-defined]
        return text


def begins_as_json(body: bytes) -> bool:
    """Whether a body of unknown type can only be JSON: no form begins with a brace or a bracket."""
    start = body[:64].decode(json.detect_encoding(body), errors="replace")
    return start.removeprefix("\ufeff").lstrip()[:1] in ("{", "[")


def loads(text: str | bytes) -> Any:
    """A value of JSON. Raises ApiError for a name that is given twice, and what `json.loads` raises."""
    return json.loads(
        text, parse_int=_whole, parse_float=SentNumber, parse_constant=SentNumber, object_pairs_hook=_object
    )


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object that `text` holds. Raises ApiError for anything else."""
    if not text.strip():
        raise _invalid_json("it is empty")
    text = text.removeprefix("\ufeff") if isinstance(text, str) else text
    try:
        value = loads(text)
    except json.JSONDecodeError as error:
        raise _invalid_json(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise _invalid_json(f"byte {error.start} is not {error.encoding.upper()}") from None
    except RecursionError:
        raise _invalid_json("it is nested too deeply") from None
    if not isinstance(value, dict):
        kinds = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
        raise _invalid_json(f"it is {kinds.get(type(value), 'a number')}")
    return value


def parse_with_file(body: bytes, field: str | None, max_bytes: int) -> dict[str, Any]:
    """As `parse_object`, of a body in which `field` may be a long `data:` URL. Raises ApiError if the rest is too long.

    That is checked first: lists and objects take 100 times their text in memory.
    """
    text = body.decode(json.detect_encoding(body), errors="replace")
    urls = re.finditer(rf'"(?:{field}|image_url)"\s*+:\s*+"data:[^"\\]*+(?:\\.[^"\\]*+)*+"', text) if field else ()
    if len(text) - max((len(url[0]) for url in urls), default=0) > max_bytes:
        raise too_long(field, max_bytes)
    return parse_object(body)


def too_long(field: str | None, max_bytes: int) -> ApiError:
    """The refusal of a body whose fields, without `field`, are too long."""
    beside = f" beside {field}" if field else ""
    return ApiError(413, "body_too_large", f"The fields{beside} have more than {max_bytes} bytes.")


def _whole(text: str) -> int | SentNumber:
    return int(text) if len(text) <= MAX_DIGITS else SentNumber(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        left = set(found)
        for name, _ in pairs:
            if name not in left:
                raise invalid(f"{name[:80]} is given twice", name[:80])
            left.remove(name)
    return found


def _invalid_json(reason: str) -> ApiError:
    return invalid(f"Not a JSON object: {reason}.", None, "invalid_json")
