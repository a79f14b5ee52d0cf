"""Files in requests: what is read, and what is refused, before an engine sees any of it."""

import asyncio
import base64
import io
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from longtake.pipelines.serve.http import input_files, video_service
from longtake.pipelines.serve.http.errors import ApiError
from longtake.pipelines.serve.http.keys import read_keys
from longtake.pipelines.serve.http.schema import RemixRequest
from longtake.pipelines.serve.http.uploads import UploadPlaces
from longtake.pipelines.serve.library.inputs import InputFile, InputKind
from longtake.pipelines.serve.library.paths import TAKES
from longtake.pipelines.serve.library.takes import Status
from tests.support.http_asks import Desk, refusal
from tests.support.videos import levels, noise, video

PROMPT = "a red circle moves right"


def picture(height=20, width=20, kind="png", mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def bomb(side=30_000):
    """A PNG whose header promises more than memory holds."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    sent = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(sent)


def url(data, media="image/png"):
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


def check(desk, path="/v1/videos/check", prompt=PROMPT, **options):
    kind = next((kind for kind in ("json", "data") if kind in options), "data")
    return desk.ask("POST", path, **{**options, kind: {"prompt": prompt, **options.get(kind, {})}})


def told(answer):
    """(param, message) of a refusal with 400."""
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]["param"], answer.json()["error"]["message"]


PNG = picture()
WAYS = [
    {"files": {"input_reference": ("photo.png", PNG, "image/png")}},
    {"files": {"input_reference": ("upload", PNG, "application/octet-stream")}},
    {"files": {"input_reference": ("photo.jpg", picture(kind="jpeg"), "image/jpeg")}},
    {"files": {"input_reference": ("photo", picture(kind="webp"), "image/webp")}},
    {"json": {"input_reference": url(PNG)}},
    {"json": {"input_reference": {"image_url": url(PNG)}}},
    {"data": {"input_reference[image_url]": url(PNG)}},
    {"data": {"input_reference": url(PNG)}, "files": {"seed": (None, "3")}},
]


@pytest.mark.parametrize("way", WAYS, ids=range(len(WAYS)))
def test_a_picture_comes_as_a_file_or_as_a_data_url(desk, way):
    answer = check(desk, **way)
    assert answer.status_code == 200, answer.text
    assert answer.json()["warnings"] == []


FILE = {"files": {"input_reference": ("photo.png", PNG, "image/png")}}
REFUSED = [
    ({"files": {"input_reference": ("photo.png", b"", "image/png")}}, '="photo.png": the file is empty'),
    ({"files": [*FILE["files"].items()] * 2}, ": one file is accepted, and there are several"),
    (
        {"data": {"input_reference": "photo.png"}},
        '="photo.png": must be a file, or a URL such as data:image/png;base64',
    ),
    ({"json": {"input_reference": "https://example.org/a.png"}}, "other URLs are not fetched"),
    ({"json": {"input_reference": {"file_id": "file-1"}}}, "files are not kept here under ids"),
    ({"json": {"input_reference": 7}}, "=7: must be a file or a data: URL"),
    ({"json": {"input_reference": []}}, "=[]: must be a file or a data: URL"),
    ({"json": {"input_reference": "data:image/png;base64,a=b"}}, "its base64 is damaged"),
    ({"json": {"input_reference": url(b"")}}, 'base64,": the file is empty'),
    (
        {"json": {"input_reference": url(PNG, "text/html")}},
        "its type is text/html, and must be image/png, image/jpeg or",
    ),
    ({"files": {"input_reference": ("a.mp4", b"a", "video/mp4")}}, "its type is video/mp4, and must be image/png"),
    ({"files": {"input_reference": ("a.gif", picture(kind="gif"))}}, "its type is image/gif"),
    ({"files": {"input_reference": ("a", picture(kind="gif"))}}, "=a: it is no PNG, JPEG or WEBP picture that can be"),
    ({"files": {"input_reference": ("a", picture(kind="eps"))}}, "=a: it is no PNG, JPEG or WEBP picture that can be"),
    ({"files": {"input_reference": ("a.png", PNG[:-600])}}, "=a.png: it cannot be read as a picture"),
    ({"files": {"input_reference": ("a.png", bomb())}}, "=a.png: it is too large, a picture may have 25000000 pixels"),
    ({"files": {"input_reference": ("a.png", bomb(6000))}}, "it is 6000x6000, and a picture may have 25000000 pixels"),
    ({**FILE, "data": {"input_reference": "a"}}, " is given twice"),
    ({**FILE, "data": {"input_reference[image_url]": "a"}}, " is given twice"),
]


@pytest.mark.parametrize(("way", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_is_no_picture_is_refused_with_the_field_and_the_rule(desk, way, says):
    param, message = told(check(desk, **way))
    assert param == "input_reference" and message.startswith("input_reference") and says in message


def test_an_empty_file_field_of_a_page_counts_as_absent(desk):
    body = b'--b\r\nContent-Disposition: form-data; name="input_reference"; filename=""\r\n\r\n\r\n'
    body += b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na red circle\r\n--b--\r\n'
    answer = desk.ask(
        "POST", "/v1/videos/check", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 200, answer.text


def test_a_file_where_none_belongs_is_named(desk):
    take = desk.add(fragments=3)
    for path, name in (
        (f"/v1/videos/{take.id}/remix", "input_reference"),
        ("/v1/videos/extensions", "input_reference"),
        ("/v1/videos", "prompt"),
        ("/v1/videos", "video"),
        ("/login", "key"),
    ):
        answer = check(desk, path, files={name: ("a.png", PNG, "image/png")})
        assert told(answer) == (name, f"{name}: files are not accepted"), path
    assert told(check(desk, f"/v1/videos/{take.id}/remix", json={"input_reference": url(PNG)}))[0] == "input_reference"


def test_what_is_converted_or_cut_off_is_told(desk):
    wide = picture(20, 40, mode="RGBA", kind="png")
    warnings = " ".join(check(desk, files={"input_reference": ("a.png", wide)}).json()["warnings"])
    assert "the base model sees 64x64 of it: 20 of its 40 columns are cut off, half at each end" in warnings
    grey = np.full((20, 20), 65535, np.uint16)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    assert "16 bits to 8" in check(desk, files={"input_reference": ("a.png", file.getvalue())}).json()["warnings"][0]


@pytest.mark.parametrize("setting", ["base.cam=false"])
def test_a_model_that_cannot_continue_pictures_says_so_before_it_reads_one(tmp_path, setting):
    param, message = told(check(Desk(tmp_path, setting), files={"input_reference": ("a.png", b"not a picture")}))
    assert param == "input_reference"
    assert message.startswith("input_reference cannot be used: base.cam=false switches CAM off, which continues a")


def clip(num_frames=30, **options):
    return video(levels(num_frames), container="mp4", **options).getvalue()


VIDEOS = [
    (b"", '="in.mp4": the file is empty'),
    (b"no video at all", "=in.mp4: cannot be read as a video"),
    (PNG, "=in.mp4: it has 1 frames, and to be continued it needs at least"),
    (clip(30)[:700], "=in.mp4: "),
    (clip(61), "=in.mp4: it has more than 60 frames"),
    (video(noise(20, 96, 96)).getvalue(), "=in.mp4: its frames are 96x96, and may have 4096 pixels"),
    (video(noise(20, 16, 160)).getvalue(), "=in.mp4: the longer side may be at most 4 times the shorter one"),
]


@pytest.mark.parametrize(("data", "says"), VIDEOS, ids=[says for _, says in VIDEOS])
def test_a_video_that_cannot_be_continued_is_refused_with_the_field_and_the_rule(tmp_path, data, says):
    small = ("base.height=32", "base.width=32", "refiner.height=64", "refiner.width=64")
    desk = Desk(tmp_path, "serve.max_frames=60", "serve.max_pixels=4096", *small)
    files, more = {"video": ("in.mp4", data, "video/mp4")}, {"num_frames": "8"}
    answer = check(desk, "/v1/videos/extensions", files=files, data=more)
    param, message = told(answer)
    assert param == "video" and message.startswith(f"video{says}"), message


MORE = {"num_frames": "8"}
SENT = {"files": {"video": ("a", clip())}}
ASKED = [
    (
        {"files": {"video": ("a.png", PNG, "image/png")}, "data": MORE},
        "video",
        "it has 1 frames, and to be continued it needs",
    ),
    (
        {"files": {"video": ("a" * 400 + ".mp4", PNG)}, "data": MORE},
        "video",
        "it has 1 frames, and to be continued it needs",
    ),
    ({"files": {"video": ("a\u202eb\x85.mp4", PNG)}, "data": MORE}, "video", "video=ab.mp4: it has 1 frames"),
    ({"data": {"video": "in.mp4"}}, "video", "must be an object"),
    ({**SENT, "data": {"video[id]": "video_0"}}, "video", "given twice"),
    ({**SENT, "data": {"num_frames": "x"}}, "num_frames", "must be a whole number"),
    ({**SENT, "data": {"width": "64"}}, "height", "give both width and height"),
    ({**SENT, "data": {"width": "60", "height": "64", "seconds": "1"}}, "width", "=60: must be a multiple of 8"),
    (
        {"files": {"video": ("a", b"not a video")}, "data": {"width": "60", "height": "64"}},
        "width",
        "=60: must be a multiple of 8",  # it is not read
    ),
    ({**SENT, "data": {"coupling": "causal"}}, "coupling", "unknown field"),
    ({**SENT, "data": {"num_frames": "50"}}, "num_frames", "has 30 frames and can have 30 more"),
    ({**SENT, "data": {"seconds": "2"}}, "seconds", "has 30 frames and can have 30 more"),
]


@pytest.mark.parametrize(("way", "param", "says"), ASKED, ids=[says for _, _, says in ASKED])
def test_requests_for_a_continuation_are_checked_as_others_are(tmp_path, way, param, says):
    sent, message = told(check(Desk(tmp_path, "serve.max_frames=60"), "/v1/videos/extensions", **way))
    assert sent == param and says in message


def test_without_a_refiner_no_video_is_continued(tmp_path):
    desk = Desk(tmp_path, "refiner.enabled=false")
    param, message = told(check(desk, "/v1/videos/extensions", files={"video": ("in.mp4", clip())}))
    assert (param, "refiner.enabled=false: to extend a video" in message) == ("video", True)


@pytest.mark.parametrize("path, name, data", [("", "input_reference", PNG), ("/extensions", "video", clip())])
def test_a_request_that_the_engine_refuses_leaves_no_file_behind(desk, path, name, data):
    answer = check(desk, f"/v1/videos{path}", files={name: ("file", data)})
    assert refusal(answer) == (503, "service_unavailable")
    assert not [path for path in desk.takes.store.list(TAKES) if "input" in path]


def test_a_body_with_a_file_has_a_limit_of_its_own(tmp_path):
    desk = Desk(tmp_path, "serve.max_body_bytes=1000", "serve.max_upload_bytes=16000")
    large, text = {"files": {"input_reference": ("a", picture(50, 50))}}, {"json": {"input_reference": "a" * 3000}}
    assert 1000 < len(large["files"]["input_reference"][1]) < 16000
    assert check(desk, **large).status_code == 200
    assert refusal(check(desk, files={"input_reference": ("a", bytes(16000))})) == (413, "body_too_large")
    assert refusal(check(desk, **text)) == (413, "body_too_large")
    assert refusal(check(desk, "/login", **large)) == (413, "body_too_large")


def test_large_bodies_need_a_place_while_they_come_in():
    places = UploadPlaces(2)
    first, _ = places.take(""), places.take("")
    with pytest.raises(ApiError) as refused:
        places.take("")
    assert (refused.value.status, refused.value.code) == (429, "too_many_uploads")
    first.close()
    first.close()
    places.take("")
    with pytest.raises(ApiError):
        places.take("")


def test_keys_share_the_places_of_large_bodies():
    places = UploadPlaces(4)
    held = [places.take(owner) for owner in ("a", "a", "b", "c")]
    for owner in ("a", "d"):
        with pytest.raises(ApiError) as refused:
            places.take(owner)
    assert refused.value.message == "All 4 places for uploads are taken; retry in 5 s."
    held[2].close()
    with pytest.raises(ApiError, match="This key has 2 of the 4 places for uploads, its share; retry in 5 s."):
        places.take("a")
    places.take("b")


def test_pictures_that_decode_to_much_are_refused_by_their_header_alone(desk, monkeypatch):
    monkeypatch.setattr(input_files, "png", lambda frame: pytest.fail("it was decoded"))
    assert check(desk, files={"input_reference": ("a.png", bomb(6000))}).status_code == 400


@pytest.mark.parametrize(
    "media", ["application/mxf", "video/vnd.dlna.mpeg-tts", "image/gif", "audio/ogg", "text/plain"]
)
def test_a_video_is_known_by_its_content_whatever_its_file_is_called(desk, media):
    answer = check(desk, "/v1/videos/extensions", files={"video": ("in", clip(), media)})
    assert refusal(answer) == (503, "service_unavailable"), answer.text  # all checks are passed


@pytest.mark.parametrize(("path", "name"), [("", "input_reference"), ("/extensions", "video")])
def test_a_key_that_has_its_share_of_videos_gets_no_file_read(tmp_path, path, name):
    keys = tmp_path / "keys"
    keys.write_text("k" * 32)
    desk = Desk(tmp_path, f"serve.keys_file={keys}", "serve.max_running_per_key=1")
    desk.add(Status.QUEUED, owner=read_keys(str(keys)).owner("k" * 32))
    answer = check(desk, f"/v1/videos{path}", files={name: ("a", b"damaged")}, key="k" * 32)
    assert refusal(answer) == (429, "too_many_videos")


def test_a_text_of_a_form_is_no_longer_than_without_a_file(tmp_path):
    desk, large = Desk(tmp_path, "serve.max_body_bytes=9000"), {"metadata": "a" * 9001}
    for way in ({"files": {"a": (None, "a" * 9001)}}, {**FILE, "data": large}, {"data": large}, {"json": large}):
        assert refusal(check(desk, **way)) == (413, "body_too_large"), way
    picture_url = url(picture(70, 70))
    assert len(picture_url) > 9000
    for way in ({"files": {"input_reference": (None, picture_url)}}, {"json": {"input_reference": picture_url}}):
        assert check(desk, **way).status_code == 200


def test_files_are_copied_a_few_at_a_time(desk, monkeypatch):
    """Each is in memory. A remix has no other turn."""
    lock, num_now, most = threading.Lock(), 0, 0

    def copy(store, source, take):
        nonlocal num_now, most
        with lock:
            num_now += 1
            most = max(most, num_now)
        time.sleep(0.02)
        with lock:
            num_now -= 1

    monkeypatch.setattr(video_service, "copy_input", copy)
    file = InputFile(kind=InputKind.IMAGE, num_bytes=9, width=64, height=64, num_frames=1)
    source, service = desk.add(input=file), desk.app.state.service

    async def run():
        asked = (service.remix(source, RemixRequest(prompt=PROMPT)) for _ in range(6))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert {error.status for error in asyncio.run(run())} == {503} and most == video_service.NUM_READING
