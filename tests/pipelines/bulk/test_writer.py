"""The writer of a bulk job, called in this process."""

import io

import numpy as np
import pytest

from longtake.models.domain.prompt import PromptSpec
from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk, Memory
from longtake.models.video.mp4 import decode, plain
from longtake.pipelines.bulk.paths import chunk_path
from longtake.pipelines.bulk.writer import BulkWriter
from longtake.pipelines.files.store import Store


@pytest.fixture
def writer(tmp_path):
    store = Store(tmp_path)
    store.put("job.json", b"{}")
    return BulkWriter(store)


def chunk(start, stop):
    return Chunk(Span(start, stop), np.random.default_rng(start).integers(0, 255, (stop - start, 16, 16, 3), np.uint8))


def test_a_preview_has_the_frames_that_were_asked_for_and_none_of_the_run_on(writer):
    chunks = [chunk(0, 16), chunk(16, 24), chunk(24, 32), chunk(32, 40)]
    pieces = [writer.encode(one, 8, i, 26, thumbnail=False)[1] for i, one in enumerate(chunks)]
    assert pieces[-1] == b""
    assert len(list(decode(io.BytesIO(plain([piece for piece in pieces if piece]))))) == 26


def test_a_piece_has_a_thumbnail_where_it_is_wanted(writer):
    assert writer.encode(chunk(0, 16), 8, 0, 40, thumbnail=True)[0].startswith(b"\xff\xd8")
    assert writer.encode(chunk(16, 24), 8, 1, 40, thumbnail=False)[0] is None


def test_a_checkpoint_comes_back_bit_for_bit(writer):
    rng = np.random.default_rng(0)
    last = rng.standard_normal((8, 3, 4, 4), dtype=np.float32)
    path = chunk_path(PromptSpec("a/b", "a red circle"), "{}", 3)
    writer.save_chunk(path, Memory(last[0], last), chunk(16, 24))
    memory, back = writer.load_chunk(path)
    np.testing.assert_array_equal(memory.last, last)
    np.testing.assert_array_equal(back.frames, chunk(16, 24).frames)
    assert back.span == Span(16, 24)


def test_a_video_that_is_asked_for_otherwise_finds_no_checkpoints_of_before():
    paths = {
        chunk_path(PromptSpec("a", prompt, seed=seed), settings, 0)
        for prompt in ("x", "y")
        for seed in (0, 1)
        for settings in ("{}", '{"refiner.strength": 0.5}')
    }
    assert len(paths) == 8


def test_a_machine_with_another_folder_of_that_name_is_found_out(tmp_path):
    with pytest.raises(ValueError, match="out=.* is another folder on this machine"):
        BulkWriter(Store(tmp_path)).warm_up()
