"""The hash of a request."""

import json
from hashlib import sha256

from longtake.pipelines.datasets.request_columns import ASKED, request_hash

PLAIN = {**dict.fromkeys(ASKED), "prompt": "a", "num_frames": 16, "seed": 1, "settings": "{}"}


def test_it_is_as_it_was_before_there_were_pictures_and_videos():
    said = json.dumps(["a", None, None, 16, 1, "{}"])
    assert request_hash(PLAIN) == sha256(said.encode()).hexdigest()


def test_a_continuation_asks_for_its_new_frames_of_one_version_of_a_video():
    asked = {**PLAIN, "extends_version": "v1"}
    made = {**asked, "num_frames": 40, "extends_frames": 24}
    hashes = [request_hash(row) for row in (PLAIN, asked, made, {**asked, "extends_version": "v2"})]
    hashes.append(request_hash({**PLAIN, "image_sha256": "v1"}))
    assert hashes[1] == hashes[2] and len(set(hashes)) == 4
