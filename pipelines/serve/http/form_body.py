"""Forms as clients send them. One that is incomplete or not UTF-8 is refused; nothing is guessed.

Starlette's own parser takes the unescaped bytes of a form for Latin-1, but `curl -d 'prompt=...'` sends UTF-8.
A form in parts is read as it comes in, because it may hold a file.
"""

from collections.abc import AsyncGenerator, Sequence
from urllib.parse import parse_qsl

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from longtake.pipelines.serve.http.errors import ApiError, invalid
from longtake.pipelines.serve.http.json_text import too_long
from longtake.pipelines.serve.http.uploads import Upload

MULTIPART = "multipart/form-data"
MAX_FIELDS = 300
MAX_URL = 2**23  # bytes of the data: URL of a picture, in a form in parts
Fields = Sequence[tuple[str, str]]


def media_type(headers: Headers) -> str:
    """The type of a body, without its parameters; empty if the client does not say it."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_urlencoded(request: Request, max_bytes: int) -> Fields:
    """The names and values of a form in the body. Raises ApiError, also for one that is longer than `max_bytes`."""
    body = await request.body()
    if len(body) > max_bytes:
        message = f"A form of this type may have {max_bytes} bytes; send a large picture as {MULTIPART}."
        raise ApiError(413, "body_too_large", message)
    byte_text = body.decode("latin-1")  # a character for each byte
    try:
        pairs = parse_qsl(byte_text, keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise _invalid_form(f"it has more than {MAX_FIELDS} fields") from None
    named = [(_utf8(name, None), value) for name, value in pairs]
    return [(name, _utf8(value, name)) for name, value in named]


async def read_multipart(
    request: Request, max_bytes: int, file_field: str | None = None
) -> Sequence[tuple[str, str | Upload]]:
    """Like `read_urlencoded`, for a form in parts. One of them may be a file: the field of this name.

    A file of more than 1 MB goes to disk while it comes in. Raises ApiError.
    """
    parser = _FormParser(request, max_bytes, file_field)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _invalid_form(error.message) from None
    if not parser.is_whole:
        await form.close()
        raise _invalid_form("it ends before its last boundary")
    return [
        (name, value if isinstance(value, str) else _upload(value))
        for name, value in form.multi_items()
        if isinstance(value, str) or value.filename or value.size  # a page sends an empty one if no file was chosen
    ]


class _FormParser(MultiPartParser):
    """Starlette's parser, which takes text that is not UTF-8 for Latin-1, and any file."""

    def __init__(self, request: Request, max_bytes: int, file_field: str | None) -> None:
        super().__init__(request.headers, self._counted(request.stream()), max_fields=MAX_FIELDS, max_part_size=MAX_URL)
        self._max_bytes, self._file_field = max_bytes, file_field
        self._num_url = self._num_text = 0  # bytes of the file's field, if it is a text, and of all others
        self._is_empty = self._has_ended = False
        _, options = parse_options_header(request.headers["content-type"])
        self._encoding = options.get(b"charset", b"utf-8").decode("latin-1")

    @property
    def is_whole(self) -> bool:
        return self._has_ended or self._is_empty

    async def _counted(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        self._is_empty = True
        async for data in stream:
            self._is_empty = self._is_empty and not data
            yield data

    def on_headers_finished(self) -> None:
        self._check_text(self._current_part.content_disposition or b"")
        super().on_headers_finished()
        name = self._current_part.field_name
        if self._current_part.file is None:
            return
        if name != self._file_field:
            raise invalid(f"{name[:80]}: files are not accepted", name[:80], "unknown_parameter")
        if self._current_files > 1:
            raise invalid(f"{name}: one file is accepted, and there are several", name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            if self._current_part.field_name.partition("[")[0] == self._file_field:
                self._num_url += end - start
            else:
                self._num_text += end - start
            if self._num_text > self._max_bytes:
                raise too_long(self._file_field, self._max_bytes)
            if self._num_url > MAX_URL:
                message = f"{self._file_field} has more than {MAX_URL} bytes as a text; send the file as it is."
                raise ApiError(413, "body_too_large", message, self._file_field)
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            self._check_text(self._current_part.data)
        super().on_part_end()

    def on_end(self) -> None:
        self._has_ended = True

    def _check_text(self, data: bytes | bytearray) -> None:
        try:
            data.decode(self._encoding)
        except (UnicodeError, LookupError):
            raise _invalid_form("its text is not UTF-8") from None


def _upload(file: UploadFile) -> Upload:
    media = (file.content_type or "").partition(";")[0].strip().lower()
    return Upload(file.file, file.filename or "", media, file.size or 0)


def _utf8(byte_text: str, field: str | None) -> str:
    """The text in these bytes, a name or the value of `field`."""
    try:
        return byte_text.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise _invalid_form(f"{field or 'a name'} is not UTF-8 text", field) from None


def _invalid_form(reason: str, field: str | None = None) -> ApiError:
    return invalid(f"The form cannot be read: {reason}", field, "invalid_form")
