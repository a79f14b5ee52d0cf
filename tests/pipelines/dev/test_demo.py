"""The demo's page names files that are there."""

import re

import pytest

from longtake.models.video.mp4 import decode
from longtake.pipelines.dev import demo
from tests.support.bulk_driver import TOY, factories


@pytest.mark.xdist_group("ray")
def test_the_page_shows_four_videos_with_previews_and_contact_sheets_also_the_second_time(ray_cluster, tmp_path):
    for num_frames in (40, 20):
        page = demo.main(tmp_path / "demo", num_frames, TOY, factories())
        named = re.findall(r'(?:src|href)="\./([^"]+)"', page.read_text())
        videos = {name for name in named if name.endswith(".mp4")}
        assert len(videos) == 8
        assert len({name for name in named if name.endswith(".png")}) == 4
        assert all((page.parent / name).is_file() for name in named)
        assert all(prompt in page.read_text() for prompt in demo.PROMPTS)
        assert all(len(list(decode(page.parent / name))) == num_frames for name in videos)
