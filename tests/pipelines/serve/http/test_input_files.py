"""Videos from pictures and of videos that clients send: the bytes are those of `longtake generate` and `extend`.

Networks run here, in actors: only they show that each input arrives. It takes some seconds to start them.
"""

import io
import json

import numpy as np
import pytest
from openai import OpenAI
from PIL import Image

from longtake.models.video.mp4 import decode
from longtake.pipelines.__main__ import main
from tests.support.http_kit import running
from tests.support.videos import noise, video

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.filterwarnings("ignore:The Sora API")]
PROMPT = "a large red circle moves right over a plain navy background"
FAST = (
    "base.anchor_frame=0",
    "base.num_inference_steps=2",
    "refiner.num_inference_steps=2",
    "refiner.height=32",
    "refiner.width=32",
)


@pytest.fixture(scope="module")
def kit(ray_cluster, random_bundle, tmp_path_factory):
    with running(tmp_path_factory.mktemp("inputs"), f"bundle={random_bundle}", *FAST, toys=False) as kit:
        yield kit


@pytest.fixture
def openai(kit):
    with OpenAI(api_key="none", base_url=f"{kit.url}/v1", max_retries=0) as client:
        yield client


def content(kit, video_id):
    with kit.client() as client:
        kit.wait(client, video_id, timeout_s=120)
        return client.get(f"/v1/videos/{video_id}/content").content


def command(random_bundle, out, *words):
    """The bytes that the command writes."""
    settings = (f"bundle={random_bundle}", *FAST)
    assert main([words[0], *map(str, words[1:]), "--out", str(out), "--seed", "3", *settings]) == 0
    return out.read_bytes()


def test_a_video_from_a_picture_has_the_bytes_of_generate_and_so_have_its_remixes(kit, openai, random_bundle, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "photo.png")
    words = (PROMPT, "--image", tmp_path / "photo.png", "--num-frames", 25, "refiner.coupling=causal")
    expected = command(random_bundle, tmp_path / "a.mp4", "generate", *words)
    more = {"num_frames": 25, "seed": 3}
    with (tmp_path / "photo.png").open("rb") as file:
        made = openai.videos.create(prompt=PROMPT, input_reference=file, size="32x32", extra_body=more)
    assert (made.input["kind"], made.input["width"], made.input["height"]) == ("image", 30, 20)
    assert made.input["notes"][0] == "it is transparent: white shows through" and len(made.warnings) >= 2
    assert content(kit, made.id) == expected
    remix = openai.videos.remix(made.id, prompt=PROMPT)
    assert content(kit, remix.id) == expected and remix.input == made.input
    other = openai.videos.create(prompt=PROMPT, size="32x32", extra_body=more)
    assert content(kit, other.id) != expected and other.input is None


def test_an_extension_of_a_video_from_a_picture_begins_with_the_picture(kit, openai, tmp_path):
    with kit.client() as client:
        png = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), (250, 10, 10), np.uint8)).save(png, "png")
        asked = {"prompt": PROMPT, "num_frames": 17, "seed": 3, "size": "32x32"}
        files = {"input_reference": ("photo.png", png.getvalue())}
        made = client.post("/v1/videos", data=asked, files=files).json()
        content(kit, made["id"])
        longer = {"prompt": "a blue square", "num_frames": 16, "video": {"id": made["id"]}}
        extended = client.post("/v1/videos/extensions", json=longer).json()
        schedule = [{"from_frame": 0, "prompt": PROMPT}, {"from_frame": 17, "prompt": "a blue square"}]
        at_once = {**asked, "prompt": json.dumps(schedule), "num_frames": 33}
        whole = client.post("/v1/videos", data=at_once, files=files).json()
    assert content(kit, extended["id"]) == content(kit, whole["id"])


@pytest.mark.parametrize(("num_old", "height", "width"), [(30, 40, 48), (8, 32, 33)])
def test_the_continuation_of_a_video_has_the_bytes_of_extend(
    kit, openai, random_bundle, tmp_path, num_old, height, width
):
    """Its sound, shape and rate are its own; it may be shorter than a window, and then has a number of its own."""
    pixel = {"pix_fmt": "yuv444p"} if width % 2 else {}
    source = video(noise(num_old, height, width), rate=12, sound=("aac", 16000), **pixel)
    (tmp_path / "in.mkv").write_bytes(source.getvalue())
    words = (tmp_path / "in.mkv", "--prompt", PROMPT, "--num-frames", 24)
    expected = command(random_bundle, tmp_path / "a.mp4", "extend", *words)
    with (tmp_path / "in.mkv").open("rb") as file:
        made = openai.videos.extend(prompt=PROMPT, video=file, seconds="2", extra_body={"seed": 3})
    assert (made.num_frames, made.fps, made.size) == (num_old + 24, 12, f"{width // 2 * 2}x{height}")
    assert made.input["kind"] == "video" and made.input["num_frames"] == num_old
    assert f"new frames are made at 32x32 and stretched to {width}x{height}" in " ".join(made.input["notes"])
    assert content(kit, made.id) == expected
    with kit.client() as client:
        streamed = client.get(f"/v1/videos/{made.id}/stream").content
        events = client.get(f"/v1/videos/{made.id}/hls/playlist.m3u8").text
    assert len(list(decode(io.BytesIO(streamed)))) == num_old + 24
    durations = [float(line[8:-1]) for line in events.splitlines() if line.startswith("#EXTINF")]
    assert abs(sum(durations) * 12 - num_old - 24) < 1e-3
    assert content(kit, openai.videos.remix(made.id, prompt=PROMPT).id) == expected


def test_a_continuation_is_continued_and_keeps_its_frames(kit, openai, tmp_path):
    source = video(noise(40, 32, 32), rate=12).getvalue()
    made = openai.videos.extend(prompt=PROMPT, video=("in.mkv", source), seconds="2", extra_body={"seed": 3})
    before = list(decode(io.BytesIO(content(kit, made.id))))
    more = {"prompt": "a blue square", "num_frames": 16, "video": {"id": made.id}}
    with kit.client() as client:
        extended = client.post("/v1/videos/extensions", json=more).json()
        assert extended["prompts"][1] == {"from_frame": 64, "prompt": "a blue square"}
        after = list(decode(io.BytesIO(content(kit, extended["id"]))))
    assert len(after) == 80 and np.array_equal(after[:32], before[:32])


def test_new_frames_may_be_made_in_the_shape_of_the_video(kit, openai, tmp_path):
    source, size = video(noise(24, 32, 64), rate=12).getvalue(), {"width": 64, "height": 32}
    asked = {"prompt": PROMPT, "video": ("in.mkv", source), "seconds": "1"}
    square, wide = openai.videos.extend(**asked), openai.videos.extend(**asked, extra_body=size)
    assert "width and height give them its shape" in square.input["notes"][-1] and wide.input["notes"] == []
    assert square.size == wide.size == "64x32"
    content(kit, wide.id)
