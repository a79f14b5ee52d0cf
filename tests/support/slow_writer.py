"""A writer that can be kept busy; what an actor imports stands here, and nothing that takes seconds."""

import os
import time

from longtake.pipelines.files.piece_writer import PieceWriter


class SlowWriter(PieceWriter):
    def wait_for(self, path: str) -> tuple[None, None]:
        while not os.path.exists(path):
            time.sleep(0.02)
        return None, None
