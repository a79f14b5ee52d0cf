"""Forms, and bodies without a type: what was sent is read, or refused; nothing is guessed."""

import json

import pytest

from tests.pipelines.serve.http.test_request_checks import PROMPT, post


@pytest.mark.report("A17")
def test_a_whole_frame_of_a_form_is_taken_as_in_json():
    flat = {"prompt[][from_frame]": ["0.0", "16.0"], "prompt[][prompt]": ["a red circle", "a circle"]}
    assert post(data=flat).json()["cues"] == [{"from_frame": 16, "prompt": "a circle"}]


PARTS = '--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n%s\r\n'
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"


@pytest.mark.report("C20")
@pytest.mark.parametrize("media", [FORM, f"{FORM}; charset=utf-8", MULTIPART, f"{MULTIPART}; charset=latin-1"])
def test_the_text_of_a_form_is_what_was_sent(media):
    """`curl -d` sends UTF-8 as it is, and does not escape it."""
    text = "prompt=großer Kreis" if media.startswith(FORM) else f"{PARTS % 'großer Kreis'}--b--\r\n"
    body = text.encode("latin-1" if media.endswith("latin-1") else "utf-8")
    assert post(content=body, headers={"Content-Type": media}).json()["prompt"] == "großer Kreis"


@pytest.mark.report("C20")
@pytest.mark.parametrize(
    ("media", "body", "reason"),
    [
        (FORM, b"prompt=gro\xdfer", "prompt is not UTF-8 text"),
        (FORM, b"prompt=gro%DFer", "prompt is not UTF-8 text"),
        (FORM, b"x" * 9 + b"&a=1" * 300, "it has more than 300 fields"),
        (MULTIPART, f"{PARTS % 'großer'}--b--\r\n".encode("latin-1"), "its text is not UTF-8"),
        (MULTIPART, (PARTS % "a" + PARTS.replace("prompt", "seed") % 12).encode(), "it ends before its last boundary"),
    ],
)
def test_a_form_that_is_not_whole_or_not_utf_8_is_refused_and_not_guessed(media, body, reason):
    error = post(content=body, headers={"Content-Type": media}).json()["error"]
    assert (error["code"], error["message"]) == ("invalid_form", f"The form cannot be read: {reason}")


@pytest.mark.report("C20", "A14")
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("media", [FORM, "", "text/plain"])
def test_json_without_its_type_may_have_any_encoding_of_json(encoding, media):
    body = json.dumps({"prompt": PROMPT, "seed": 3}).encode(encoding)
    assert post(content=body, headers={"Content-Type": media}).json()["seed"] == 3
