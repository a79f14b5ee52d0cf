import cv2
import numpy as np
import pytest

from longtake.models.metrics.drift import color_statistics, drift, drift_embedding, ends, sharpness
from tests.support.clips import still, texture


def test_the_ends_are_fifteen_percent_and_one_frame_at_least():
    assert ends(np.arange(40.0)[:, None]) == ([2.5], [36.5])
    assert ends(np.arange(3.0)[:, None]) == ([0], [2])


def test_a_still_video_does_not_drift():
    frames = still(20)
    assert drift(color_statistics(frames)) == 0 and drift(sharpness(frames)) == 0


def test_a_colour_that_drifts_by_a_fifth_of_full_brightness_is_told_so():
    frames = np.full((40, 8, 8, 3), 100, np.uint8)
    frames[20:, :, :, 0] = 151
    assert drift(color_statistics(frames)) == pytest.approx(0.2)


def test_contrast_drifts_too():
    low, high = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 100, np.uint8)
    high[::2] = 151
    high[1::2] = 49
    assert drift(color_statistics(np.stack([low] * 10 + [high] * 10))) == pytest.approx(np.sqrt(3) * 51 / 255)


def test_a_video_that_blurs_loses_sharpness():
    blurred = cv2.GaussianBlur(texture(), (31, 31), 8)
    frames = np.stack([texture()] * 10 + [blurred] * 10)
    assert sharpness(frames)[0] > 3 * sharpness(frames)[-1] > 0
    assert drift(sharpness(frames)) == pytest.approx(sharpness(frames)[0] - sharpness(frames)[-1])


def test_embeddings_that_turn_by_a_right_angle_drift_by_one():
    embeds = np.repeat(np.eye(2), 10, axis=0)
    assert drift_embedding(embeds) == pytest.approx(1) and drift_embedding(embeds[:10]) == pytest.approx(0)
