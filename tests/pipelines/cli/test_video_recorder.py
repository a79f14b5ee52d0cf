"""Files that the recorder writes beside a video."""

import os
from pathlib import Path

import numpy as np
import pytest

from longtake.pipelines.cli.video_recorder import save_sheet


def test_a_disk_that_is_full_when_the_contact_sheet_comes_leaves_the_one_before(full_disk, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    sheet, frames = Path("sheet.png"), np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    sheet.write_bytes(b"before")
    with pytest.raises(OSError, match=r"cannot write, File too large: '.*sheet.png'"):
        save_sheet(sheet, [0, 1], frames, frames)
    assert sheet.read_bytes() == b"before" and os.listdir() == ["sheet.png"]
