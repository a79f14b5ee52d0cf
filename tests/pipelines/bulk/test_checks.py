"""Checks before a bulk job starts."""

import pytest

from longtake.pipelines.bulk.checks import check
from longtake.pipelines.bulk.settings import Format, load_bulk
from tests.pipelines.datasets.test_layouts import datasets, make  # noqa: F401  # a fixture

PLAIN = ["a b", "a%20b", "a;b", "naïve", "a[", "train", "a:b"]
FOR_HUGGING_FACE = ["a[1]", "a*b", "a?b", "a::b"]
FOR_WEBDATASET = ["a?b", "a#b", "a{b,c}", "a::b", "a\\b"]


def warnings(tmp_path, caplog, name, format):
    (tmp_path / "p.txt").write_text("a red circle")
    check(load_bulk(overrides=[f"prompts={tmp_path}/p.txt", f"out={tmp_path / name / 'out'}", f"format={format}"]))
    return [record.getMessage() for record in caplog.records]


@pytest.mark.report("C12", "C13")
@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("name", sorted({*PLAIN, *FOR_HUGGING_FACE, *FOR_WEBDATASET}))
def test_an_out_that_readers_take_for_a_pattern_gets_one_warning(tmp_path, caplog, name, format):
    said = warnings(tmp_path, caplog, name, format)
    theirs = name in FOR_HUGGING_FACE, name in FOR_WEBDATASET and format is Format.WEBDATASET
    assert len(said) == any(theirs)
    text = "".join(said)
    assert (f"out={tmp_path}" in text) == any(theirs)
    assert ("Hugging Face's load_dataset takes" in text, "webdataset takes" in text) == theirs


@pytest.mark.report("C12", "C13")
@pytest.mark.parametrize("name", sorted({*PLAIN, *FOR_HUGGING_FACE, *FOR_WEBDATASET}))
def test_the_readers_themselves_agree(tmp_path, datasets, name):  # noqa: F811
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed: it is in the dev extra")
    out = tmp_path / name / "out"
    make(out, ["one", "two"], Format.WEBDATASET)
    make(tmp_path / "aXb" / "out", ["three"], Format.WEBDATASET)
    (shard,) = map(str, (out / "shards").iterdir())

    def count(read):
        try:
            return read()
        except (ValueError, OSError, IndexError, datasets.exceptions.DatasetNotFoundError):
            return 0

    theirs = count(lambda: len(datasets.load_dataset("webdataset", data_files=[shard])["train"]))
    assert (theirs == 2) == (name not in FOR_HUGGING_FACE)
    theirs = count(lambda: len(list(webdataset.WebDataset(shard, shardshuffle=False))))
    assert (theirs == 2) == (name not in FOR_WEBDATASET)
