"""bundle.json as people write it: what is wrong with it is one line with file, key, value and rule."""

import json

import pytest

from longtake.pipelines.config.bundle_file import read_bundle_file
from longtake.pipelines.config.conf import load

WRONG = [
    ("{", "is not readable JSON"),
    (b"\xff\xfe{}", "is not readable JSON"),
    ("[" * 100_000, "is not readable JSON"),
    ("[1]", "content=[1] must be an object with the keys format, sources"),
    ('{"format": 2}', "format=2: must be 1"),
    ('{"default": {}}', "default={}: is not a key of this file; known are format, sources"),
    ('{"sources": {}}', "sources={}: must be a list of objects"),
    ('{"defaults": []}', "defaults=[]: must be an object of dotted settings"),
    ('{"defaults": {"base.eta": 1, "base.eta": 0}}', "base.eta=0: the key is there twice"),
    ('{"defaults": {"base.steps": 5}}', "base.steps=5 is not a setting"),
    ('{"defaults": {"base.num_inference_steps": "8"}}', "base.num_inference_steps=8 must be a whole number, not text"),
    ('{"defaults": {"base.num_inference_steps": 8.5}}', "base.num_inference_steps=8.5 must be a whole number"),
    ('{"defaults": {"base.eta": NaN}}', "base.eta=nan must be a finite number"),
    ('{"defaults": {"base.eta": 2.0}}', "base.eta=2.0 must be between 0 and 1"),
    ('{"defaults": {"base.anchor_frame": 16}}', "base.anchor_frame=16 must be below plan.chunk_frames=16"),
    ('{"defaults": {"base": {"eta": 1.0}}}', "base={'eta': 1.0}: is no default of a bundle"),
    ('{"defaults": {"ray.address": "auto"}}', "ray.address='auto': is no default of a bundle: only base, opener, plan"),
    ('{"defaults": {"device": "cuda"}}', "device='cuda': is no default of a bundle"),
    ('{"defaults": {"opener.model": "/some/where"}}', "opener.model='/some/where': names a place on one machine"),
    ('{"defaults": {"opener.eta": -1}}', "opener.eta=-1.0 must be between 0 and 1"),
    ('{"defaults": {"video.fps": 0}}', "video.fps=0 must be between 1 and 240"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_is_wrong_is_named(tmp_path, text, says):
    path = tmp_path / "bundle.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError) as error:
        load(overrides=[f"bundle={tmp_path}"])
    assert str(error.value).startswith(str(path)) and says in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_one_has_no_defaults(tmp_path):
    assert read_bundle_file(tmp_path) == {} == read_bundle_file(tmp_path / "nowhere")


def test_all_that_a_conversion_writes_is_read(tmp_path):
    content = {
        "format": 1,
        "sources": [{"file": "a.ckpt", "bytes": 3, "sha256": "ab", "parts": ["unet"]}],
        "left_out": [{"tensor": "logit_scale", "reason": "unused"}],
        "licences": [{"parts": ["unet"], "text": "non-commercial"}],
        "defaults": {"base.eta": 1.0},
    }
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    assert read_bundle_file(tmp_path) == content
