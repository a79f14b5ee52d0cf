import cv2
import numpy as np
import pytest

from longtake.models.metrics.flow import dis, raft_large
from tests.support.clips import real_clip, texture, translating


@pytest.mark.parametrize("dx, dy", [(0, 0), (3, 0), (0, -2), (5, 4)])
def test_a_texture_that_moves_has_the_flow_that_moves_it(dx, dy):
    left, right = translating(2, dx, dy)
    flow = dis().between(left, right)
    assert flow.shape == (128, 128, 2)
    inner = flow[16:-16, 16:-16]  # the torus is torn at the edges of the picture
    assert np.abs(inner - (dx, dy)).mean() < 0.3


def test_flow_of_a_real_clip_moves_its_frames_onto_each_other():
    left, right = real_clip("carphone_pristine.mp4", 176, 144)[40:46:5]
    flow = dis().between(left, right)
    where = (np.stack(np.meshgrid(np.arange(176), np.arange(144)), -1) + flow).astype(np.float32)
    back = cv2.remap(right, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    before, after = (np.abs(left.astype(int) - other).mean() for other in (right, back))
    assert after < 0.75 * before


def test_flow_does_not_depend_on_the_number_of_threads():
    left, right = translating(2, 3, 1)
    threads, flows = cv2.getNumThreads(), []
    try:
        for count in (1, 2):
            cv2.setNumThreads(count)
            flows.append(dis().between(left, right))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(*flows)


def test_raft_takes_frames_and_gives_flow_in_pixels():
    try:
        import torchvision.models.optical_flow as flows
    except (ImportError, RuntimeError) as error:  # RuntimeError: it is there, but for another build of torch
        pytest.skip(f"RAFT cannot be run without torchvision: {error}")
    flow = raft_large(flows.raft_large(weights=None).eval())
    frame = texture()
    assert flow.name == "raft_large" and flow.between(frame, frame).shape == (128, 128, 2)
