import numpy as np
import pytest

from longtake.models.video.sheet import PAPER, draw_sheet, sheet_numbers


def _sheet(frames: np.ndarray, columns: int = 5) -> np.ndarray:
    numbers = sheet_numbers(len(frames))
    return draw_sheet(numbers, {"refined": frames[numbers]}, columns)


def _numbered(num_frames: int, h: int = 32, w: int = 32) -> np.ndarray:
    """Frame i is plain and of its own grey."""
    return np.broadcast_to(
        (100 + np.arange(num_frames, dtype=np.uint8))[:, None, None, None], (num_frames, h, w, 3)
    ).copy()


def _shown(sheet: np.ndarray) -> list[int]:
    """The frames whose grey fills a tile, in reading order."""
    grey = np.where((sheet == sheet[..., :1]).all(-1), sheet[..., 0].astype(int) - 100, -1)
    rows = [[i for i in range(90) if (line == i).sum() >= 32] for line in grey]
    order: list[int] = []
    for row in rows:
        order += [i for i in sorted(row, key=lambda i: int((grey == i).any(0).argmax())) if i not in order]
    return order


def test_ten_tiles_or_fewer_at_even_distances_unless_the_caller_says_how_many():
    assert sheet_numbers(80) == list(range(0, 80, 8))
    assert sheet_numbers(1) == [0]
    assert sheet_numbers(81) == list(range(0, 81, 9))
    assert sheet_numbers(30, every=7) == [0, 7, 14, 21, 28]


def test_every_eighth_frame_of_eighty_is_shown_in_order():
    sheet = _sheet(_numbered(80))
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert _shown(sheet) == list(range(0, 80, 8))
    assert tuple(sheet[0, 0]) == PAPER


def test_the_preview_stands_above_the_refined_frames_and_in_their_size():
    preview = np.zeros((4, 8, 8, 3), np.uint8)
    preview[..., 0] = 255
    sheet = draw_sheet(range(4), {"preview": preview, "refined": np.full((4, 32, 32, 3), (0, 255, 0), np.uint8)})
    low, high = (sheet == (255, 0, 0)).all(-1), (sheet == (0, 255, 0)).all(-1)
    assert low.sum() == high.sum() == 4 * 128 * 128  # 128 = 4 x 32: whole pixels
    assert low.any(1).nonzero()[0].max() < high.any(1).nonzero()[0].min()


def test_a_preview_of_another_shape_keeps_it():
    preview = np.full((2, 8, 8, 3), (255, 0, 0), np.uint8)
    sheet = draw_sheet(range(2), {"preview": preview, "refined": np.full((2, 32, 64, 3), (0, 255, 0), np.uint8)})
    low, high = (sheet == (255, 0, 0)).all(-1), (sheet == (0, 255, 0)).all(-1)
    assert high.sum() == 2 * 128 * 256 and low.sum() == 2 * 128 * 128


def test_a_large_frame_is_shrunk_and_keeps_its_shape():
    sheet = _sheet(np.full((1, 720, 1280, 3), 255, np.uint8))
    rows, columns = (sheet == 255).all(-1).nonzero()
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (180, 320)


def test_frame_numbers_are_drawn():
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    one, other = draw_sheet([0, 7], {"refined": frames}), draw_sheet([0, 8], {"refined": frames})
    assert one.shape == other.shape and (one != other).any()


def test_a_sheet_is_the_same_every_time():
    assert np.array_equal(_sheet(_numbered(20)), _sheet(_numbered(20)))


def test_bad_arguments_are_named():
    frames = _numbered(4)
    with pytest.raises(ValueError, match="columns=0"):
        _sheet(frames, columns=0)
    with pytest.raises(ValueError, match="'preview' has 3 frames for 4 numbers"):
        draw_sheet(range(4), {"preview": frames[:3], "refined": frames})
    with pytest.raises(ValueError, match="'refined' has 4 frames for 2 numbers"):
        draw_sheet([0, 1], {"refined": frames})
