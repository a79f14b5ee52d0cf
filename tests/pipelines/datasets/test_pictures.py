"""Pictures that rows of prompts name."""

import json
from hashlib import sha256

import fsspec
import numpy as np
import pytest
from PIL import Image

from longtake.pipelines.datasets import pictures
from longtake.pipelines.datasets.pictures import read_picture, same_picture, url_of
from longtake.pipelines.datasets.prompt_rows import PromptRow, RowDefaults, read_rows, to_request

DEFAULTS = RowDefaults(48, "", 7)


@pytest.fixture
def photo(tmp_path):
    """Half transparent."""
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.full((6, 8, 4), 128, np.uint8)).save(path)
    return path


def test_a_path_is_relative_to_the_file_of_its_row(photo, tmp_path):
    for name in ("photos/a.png", str(photo), f"file://{photo}"):
        (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "a", "image": name}))
        (row,) = read_rows(str(tmp_path / "p.jsonl"))
        picture, read = read_picture(row.image)
        assert picture.frame.shape == (6, 8, 3)
        assert read.sha256 == sha256(photo.read_bytes()).hexdigest()
        assert read.notes == ("it is transparent: white shows through",)


def test_a_picture_may_lie_in_a_store(photo):
    with fsspec.open("memory://bucket/a.png", "wb") as file:
        file.write(photo.read_bytes())
    for name in ("a.png", "memory://bucket/a.png"):
        assert read_picture(url_of("image", name, "memory://bucket/prompts.jsonl"))[0].frame.shape == (6, 8, 3)


def test_what_is_no_picture_is_named_with_the_reason(photo, tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    says = {
        f"{tmp_path}/text.png": "it is no picture that can be read",
        f"{tmp_path}/none.png": r"it cannot be read \(No such file or directory\)",
        "foo://bucket/a.png": r"it cannot be read \(Protocol not known: foo\)",
    }
    for url, reason in says.items():
        with pytest.raises(ValueError, match=f"^image={url}: {reason}"):
            read_picture(url)
    with pytest.raises(ValueError, match=r"^image=\['a'\]: must be a path or a URL$"):
        url_of("image", ["a"], str(tmp_path / "p.jsonl"))
    monkeypatch.setattr(pictures, "MAX_BYTES", 20)
    with pytest.raises(ValueError, match="it has more than 20 bytes"):
        read_picture(str(photo))


def test_another_picture_at_the_same_place_is_refused(photo):
    digest = read_picture(str(photo))[1].sha256
    assert same_picture(str(photo), digest).frame.shape == (6, 8, 3)
    Image.new("RGB", (8, 6)).save(photo)
    with pytest.raises(ValueError, match=f"it is another picture .*the video needs {digest}"):
        same_picture(str(photo), digest)


def test_a_row_without_an_id_is_named_by_its_picture_too():
    rows = [PromptRow("p.jsonl:1", {"prompt": "a", **more}, None) for more in ({}, {"image": ""}, {"image": "a.png"})]
    plain, blank, pictured = (to_request(row, DEFAULTS, str).video_id for row in rows)
    assert plain == blank != pictured and rows[1].image is None
