"""Checksums of records, whatever the pieces in which a file comes."""

import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.convert.records import RecordSums, records_of

CONTENTS = {"data.pkl": b"abc", "data/0": bytes(range(256)) * 4, "data/1": b"", "data/2": b"x" * 500}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "a.ckpt"
    with zipfile.ZipFile(path, "w") as written:
        for name, content in CONTENTS.items():
            written.writestr(name, content)
    with zipfile.ZipFile(path) as opened:
        return path.read_bytes(), records_of(opened, path)


def damaged(data, records, size):
    sums = RecordSums(records)
    for begin in range(0, len(data), size):
        sums.add(data[begin : begin + size])
    return sums.damaged and sums.damaged.name


def test_records_are_where_their_bytes_are(archive):
    data, records = archive
    assert {record.name: data[record.start :][: record.size] for record in records} == CONTENTS


@given(at=st.integers(0, 1000), size=st.integers(1, 2000))
def test_a_flipped_byte_is_found_in_its_record_and_nowhere_else(archive, at, size):
    data, records = archive
    assert damaged(data, records, size) is None
    flipped = bytearray(data)
    flipped[at] ^= 128
    inside = [record.name for record in records if record.start <= at < record.start + record.size]
    assert damaged(flipped, records, size) == (inside[0] if inside else None)


def test_records_that_share_bytes_are_refused(archive, tmp_path):
    path = tmp_path / "b.ckpt"
    path.write_bytes(archive[0])
    with zipfile.ZipFile(path) as opened:
        opened.infolist()[0].file_size = 400
        with pytest.raises(ValueError, match=r"its records data.pkl and data/0 share bytes"):
            records_of(opened, path)
