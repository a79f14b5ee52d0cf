"""Forms as clients send them. One that is incomplete or not UTF-8 is refused; nothing is guessed.

Starlette's own parser takes the unescaped bytes of a form for Latin-1, but `curl -d 'prompt=...'` sends UTF-8.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from longtake.pipelines.serve.http.errors import ApiError, invalid

MAX_FIELDS = 300
Fields = Sequence[tuple[str, str]]


async def read_urlencoded(request: Request) -> Fields:
    """The names and values of a form in the body. Raises ApiError."""
    byte_text = (await request.body()).decode("latin-1")  # a character for each byte
    try:
        pairs = parse_qsl(byte_text, keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise _invalid_form(f"it has more than {MAX_FIELDS} fields") from None
    named = [(_utf8(name, None), value) for name, value in pairs]
    return [(name, _utf8(value, name)) for name, value in named]


async def read_multipart(request: Request) -> Fields:
    """Like `read_urlencoded`, for a form in parts."""
    body = await request.body()
    try:
        form = await request.form(max_files=1, max_fields=MAX_FIELDS)
    except HTTPException as error:
        raise _invalid_form(str(error.detail)) from None
    fields = [(name, value) for name, value in form.multi_items() if not isinstance(value, UploadFile)]
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            raise invalid(f"{name[:80]}: files are not accepted", name[:80], "unknown_parameter")
    _, options = parse_options_header(request.headers["content-type"])
    if body and b"--%b--" % options[b"boundary"] not in body:
        raise _invalid_form("it ends before its last boundary")
    try:
        body.decode(options.get(b"charset", b"utf-8").decode("latin-1"))
    except (UnicodeError, LookupError):
        raise _invalid_form("its text is not UTF-8") from None
    return fields


def _utf8(byte_text: str, field: str | None) -> str:
    """The text in these bytes, a name or the value of `field`."""
    try:
        return byte_text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise _invalid_form(f"{field or 'a name'} is not UTF-8 text", field) from None


def _invalid_form(reason: str, field: str | None = None) -> ApiError:
    return invalid(f"The form cannot be read: {reason}", field, "invalid_form")
