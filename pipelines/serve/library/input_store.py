"""The files that takes begin with, in their folders. Written before the record of the take, they are never changed."""

from longtake.pipelines.files.store import Store
from longtake.pipelines.serve.library.paths import folder, path_of
from longtake.pipelines.serve.library.takes import Take


def keep_input(store: Store, take: Take, data: bytes) -> None:
    """Writes the file of a take that is not created yet. Raises what the store raises."""
    assert take.input is not None, "it describes the file"
    store.put(path_of(take.id, take.input.file), data)


def copy_input(store: Store, source: Take, take: Take) -> None:
    """Copies the file of `source`. Raises FileNotFoundError if it was removed, and what the store raises."""
    assert source.input is not None, "it describes the file"
    keep_input(store, take, store.get(path_of(source.id, source.input.file)))


def drop_input(store: Store, take: Take) -> None:
    """Removes the folder of a take that was refused."""
    store.remove(folder(take.id))
