"""Notes on videos: a line each for what was dropped, guessed or converted. A note is a kind, a colon and numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence


def notes_text(notes: Sequence[str]) -> str | None:
    """The notes of one video as the value of a column; None without any."""
    return "; ".join(note.replace(";", ",") for note in notes) or None


def count_kinds(texts: Iterable[str | None]) -> Counter[str]:
    """The number of videos with each kind of note, by their `notes_text`."""
    return Counter(kind for text in texts if text for kind in {note.partition(": ")[0] for note in text.split("; ")})
