"""A drawing of a plan: one line per kind of piece, two for windows because they overlap."""

from collections.abc import Iterable

from longtake.models.domain.plan import Plan
from longtake.models.domain.span import Span

COLUMNS = 96  # of a wide terminal, beside the words in front


def draw(plan: Plan) -> str:
    """Several lines of text. A long video is drawn as far as the line goes; the counts are always of the whole."""
    end = plan.chunks[-1].stop
    scale = 1 if end <= COLUMNS else 2  # frames per column; with more, chunks would be too narrow to see
    shown = min(end, COLUMNS * scale)
    tick = 8 * scale
    frames = "".join(f"{frame:<{tick // scale}}" for frame in range(0, shown + 1, tick)).rstrip()
    lines = [
        ("frames", frames),
        ("chunks", _row(plan.chunks, scale, shown)),
        ("windows", _row(plan.windows[::2], scale, shown)),
        ("", _row(plan.windows[1::2], scale, shown)),
        ("segments", _row(plan.segments, scale, shown)),
    ]
    counts = f"{plan.num_frames} frames: {len(plan.chunks)} chunks, {len(plan.windows)} windows and segments"
    more = f", drawn up to frame {shown}" if shown < end else ""
    return "\n".join([f"{counts}{more}", *(f"{word:<10}{row}" for word, row in lines if row)])


def _row(spans: Iterable[Span], scale: int, shown: int) -> str:
    row = [" "] * (shown // scale + 1)
    for span in spans:
        for frame in range(span.start, min(span.stop, shown) + 1):
            edge = frame in (span.start, span.stop)
            if edge or row[frame // scale] == " ":
                row[frame // scale] = "|" if edge else "-"
    return "".join(row).rstrip()
