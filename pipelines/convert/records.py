"""The records of an archive that torch.save wrote, which packs nothing, and their checksums.

    file     | header | data.pkl ........ | header | data/0 ............... | header | data/1 ... | list of records
    pieces   |----------------------|----------------------|----------------------|-------------------|

The checksums are compared while the file is read for its digest, so a flipped byte costs no reading of its own.
"""

import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from zlib import crc32

LOCAL_HEADER = 30  # bytes, before the name and the extra field, whose lengths are its last two numbers


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes of a record, and the checksum that the archive has of them."""

    name: str
    start: int
    size: int
    crc: int  # 0: torch.save was told to write none

    def read(self, path: Path) -> bytes:
        """Its first bytes, as it may be of any size."""
        with path.open("rb") as file:
            file.seek(self.start)
            return file.read(min(self.size, 100))


def records_of(archive: zipfile.ZipFile, path: Path) -> list[Record]:
    """The records in the order of their bytes. Raises ValueError for two that share bytes."""
    records = []
    with path.open("rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset)
            header = file.read(LOCAL_HEADER)
            if len(header) < LOCAL_HEADER:
                raise ValueError(f"it is cut off in the header of {info.filename}")
            start = info.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", header[-4:]))
            records.append(Record(info.filename, start, info.file_size, info.CRC))
    records.sort(key=lambda record: (record.start, record.size))
    for before, after in pairwise(records):
        if before.start + before.size > after.start:
            raise ValueError(f"its records {before.name} and {after.name} share bytes")
    return records


class RecordSums:
    """Takes a file piece by piece. `damaged` is the first record whose bytes are not those of its checksum."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records, self._next, self._at, self._sum = records, 0, 0, 0
        self.damaged: Record | None = None

    def add(self, piece: bytes) -> None:
        """The next bytes of the file."""
        begin, end = self._at, self._at + len(piece)
        while self.damaged is None and self._next < len(self._records):
            record = self._records[self._next]
            if record.start >= end:
                break
            inside = memoryview(piece)[max(0, record.start - begin) : record.start + record.size - begin]
            self._sum = crc32(inside, self._sum)
            if record.start + record.size > end:
                break
            if self._sum != record.crc and record.crc:
                self.damaged = record
            self._next, self._sum = self._next + 1, 0
        self._at = end
