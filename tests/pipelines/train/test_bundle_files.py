"""The record of a trained bundle is true of the parts that were trained."""

import json

import pytest

from longtake.pipelines.convert.new_folder import check_out
from longtake.pipelines.train.bundle_files import record_training
from longtake.pipelines.train.command import _write
from longtake.pipelines.train.settings import load_train

FILE = {"file": "streaming_t2v.ckpt", "bytes": 6, "sha256": "ab" * 32, "parts": ["unet", "cam", "apm"]}
RECORD = {
    "format": 1,
    "sources": [FILE, {"file": "tokenizer/vocab.json", "bytes": 1, "sha256": "cd" * 32, "parts": ["tokenizer"]}],
    "left_out": [{"tensor": "logit_scale", "reason": "nothing reads it"}],
    "licences": [{"parts": ["unet", "cam", "apm"], "text": "CC BY-NC 4.0"}],
    "defaults": {"base.eta": 1.0},
}
ABOUT = "longtake train: 5 steps on the clips of 3 videos"


def recorded(folder, trained, anew, about=ABOUT):
    record_training(folder, trained, anew, about)
    return json.loads((folder / "bundle.json").read_text())


@pytest.mark.parametrize("fresh", [False, True])
def test_a_trained_bundle_says_where_its_memory_comes_from(copy_of_random_bundle, tmp_path, fresh):
    """The whole of what `train` writes at its end."""
    (copy_of_random_bundle / "bundle.json").write_text(json.dumps(RECORD))
    places = [f"bundle={copy_of_random_bundle}", f"work={tmp_path}/work", f"out={tmp_path}/out"]
    conf = load_train(overrides=["manifest=x", *places, f"fresh={fresh}"])
    for part in ("cam", "apm"):
        (conf.folder / "parts" / part).mkdir(parents=True)
        (conf.folder / "parts" / part / "config.json").write_text("{}")
    _write(conf, ABOUT)
    record = json.loads((tmp_path / "out" / "bundle.json").read_text())
    began = {} if fresh else {"from": "streaming_t2v.ckpt"}
    assert record["sources"][0] == {**FILE, "parts": ["unet"]}
    assert record["sources"][2:] == [{"trained": ABOUT, "parts": [part], **began} for part in ("apm", "cam")]
    assert record["licences"][0]["parts"] == (["unet"] if fresh else ["unet", "cam", "apm"])
    assert record["left_out"] == RECORD["left_out"] and record["defaults"] == RECORD["defaults"]
    assert json.loads((copy_of_random_bundle / "bundle.json").read_text()) == RECORD


def test_a_second_training_keeps_the_origin_and_a_bundle_without_a_record_gets_none(tmp_path):
    record_training(tmp_path, ["cam"], [], ABOUT)
    assert not list(tmp_path.iterdir())
    (tmp_path / "bundle.json").write_text(json.dumps(RECORD))
    recorded(tmp_path, ["unet", "cam", "apm"], [])
    sources = recorded(tmp_path, ["cam"], [], "longer")["sources"]
    assert sources[-1] == {"trained": "longer", "parts": ["cam"], "from": "streaming_t2v.ckpt"}
    assert [source["parts"] for source in sources] == [["tokenizer"], ["unet"], ["apm"], ["cam"]]


def test_a_conversion_does_not_replace_a_trained_bundle(tmp_path):
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "bundle.json").write_text(json.dumps(RECORD))
    check_out(out, "unet")
    recorded(out, ["cam"], [])
    with pytest.raises(ValueError, match=r"out=.*bundle exists and was not made by `longtake convert`"):
        check_out(out, "unet")
