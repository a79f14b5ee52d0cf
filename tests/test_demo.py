"""The demo's page names files that are there."""

import re

from models.mp4 import decode
from pipelines import api, demo
from pipelines.config import Conf
from tests.toy import ToyBundle


def test_the_page_shows_four_videos_with_previews_and_contact_sheets(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "build_bundle", lambda conf: ToyBundle())
    page = demo.main(tmp_path / "demo", num_frames=20, longtake=api.Longtake(Conf()))
    named = re.findall(r'(?:src|href)="\./([^"]+)"', page.read_text())
    assert len({name for name in named if name.endswith(".mp4")}) == 8
    assert len({name for name in named if name.endswith(".png")}) == 4
    assert all((page.parent / name).is_file() for name in named)
    assert all(prompt in page.read_text() for prompt in demo.PROMPTS)
    assert len(list(decode(page.parent / "1.mp4"))) == 20
