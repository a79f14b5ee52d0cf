"""The writer of pieces, called in this process."""

import numpy as np
import pytest

from longtake.models.domain.span import Span
from longtake.models.domain.state import Chunk
from longtake.pipelines.files.piece_writer import EncodingError, PieceWriter
from longtake.pipelines.files.store import Store


def test_a_machine_with_another_folder_of_that_name_is_found_out(tmp_path):
    writer = PieceWriter(Store(tmp_path), "serve.takes", "mark")
    with pytest.raises(ValueError, match=f"^serve.takes={tmp_path} is another folder on this machine"):
        writer.warm_up()
    Store(tmp_path).put("mark", b"")
    writer.warm_up()


def test_frames_that_no_mp4_holds_are_told_from_a_store_that_cannot_be_written(tmp_path):
    odd = Chunk(Span(0, 2), np.zeros((2, 15, 15, 3), np.uint8))
    with pytest.raises(EncodingError, match="^frames cannot be encoded: "):
        PieceWriter(Store(tmp_path), "out", "mark").encode(odd, 8, 0, 2, thumbnail=False)
