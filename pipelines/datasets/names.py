"""File names for ids that no dataset reader misinterprets.

Hugging Face's loaders make splits of names such as `train-1.mp4`, and their webdataset reader passes over members whose
name begins with `__`; shells, tar and pyarrow have rules of their own for a leading `-`, `.` or `_`.
"""

import re
from hashlib import sha256

# Words that name a split if no letter is next to them (datasets 5.2, data_files.py).
SPLITS = re.compile(
    r"(?<![a-z])(training|train|validation|valid|dev|val|testing|test|evaluation|eval)(?![a-z])", re.IGNORECASE
)


def safe_name(id: str) -> str:
    """A file name for any id: at most 120 letters, digits, ".", "_" and "-", the first a letter or a digit.

    Different ids have different names, even where case does not count. A lower-case id of these characters is its own
    name unless it contains the name of a split. Any other name ends with 16 digits of the id's sha256, and so does the
    name of an id that looks like one of those. With 8 digits, two of 100,000 ids without a Latin letter would collide.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", id).lstrip("._-")[:80]
    name = SPLITS.sub(r"x\1", name)
    if name == id and name and name == name.lower() and not re.search(r"-[0-9a-f]{16}$", name):
        return name
    return f"{name or 'id'}-{_hash(id)}"


def member_name(id: str) -> str:
    """A `safe_name` without a dot, for the members of a tar: readers take all after the first one for its kind."""
    name = safe_name(id)
    return name if "." not in name else f"{name.replace('.', '_')}-{_hash(id)}"


def shard_of(id: str) -> str:
    """The name of one of 4096 folders: three hexadecimal digits."""
    return sha256(id.encode()).hexdigest()[:3]


def _hash(id: str) -> str:
    return sha256(id.encode()).hexdigest()[:16]
