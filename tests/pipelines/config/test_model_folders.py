"""Bundles as people have them, from the command to the file: no refiner, another one, one that does not fit."""

import json
import subprocess
import sys

import pytest

from longtake.models.video.reader import VideoReader
from longtake.pipelines.__main__ import main
from longtake.pipelines.config.conf import for_video, load
from longtake.pipelines.config.model_folders import lasting_place, model_folder
from longtake.pipelines.config.provenance import hash_of, video_settings
from longtake.pipelines.config.provenance import weights_of as hash_of_all
from longtake.pipelines.runners.bundle_limits import limits_of, settled
from tests.support.hub import into_cache
from tests.support.pipelines import change_json, weights_of, write_pipeline
from tests.support.places import ROOT

STEPS = ("base.num_inference_steps=2",)
OFF = "refiner.enabled=false"


@pytest.fixture(scope="module")
def pipeline(random_bundle, tmp_path_factory):
    return write_pipeline(random_bundle, tmp_path_factory.mktemp("folders") / "pipeline")


def generate(tmp_path, bundle, *more):
    out = tmp_path / "out.mp4"
    code = main(["generate", "a bad", "--bundle", str(bundle), "--num-frames", "17", "--out", str(out), *STEPS, *more])
    return code, out


def test_a_pipeline_without_a_refiner_says_both_ways_out(pipeline, tmp_path, capsys):
    code, out = generate(tmp_path, pipeline)
    said = capsys.readouterr().err
    assert code == 2 and not out.exists()
    assert "refiner.enabled=false" in said and "refiner.model=PATH" in said and said.count("\n") == 1


def test_the_base_alone_makes_the_video_of_the_preview(pipeline, tmp_path, capsys):
    preview = tmp_path / "preview.mp4"
    code, out = generate(tmp_path, pipeline, OFF, "--preview", str(preview))
    assert code == 0, capsys.readouterr().err
    with VideoReader(out) as video, VideoReader(preview) as low:
        assert (video.width, video.height, video.num_frames) == (32, 32, 17) == (low.width, low.height, low.num_frames)


def test_a_refiner_beside_the_bundle_has_its_own_text_encoder(pipeline, random_bundle, tmp_path, capsys):
    code, out = generate(tmp_path, random_bundle, f"refiner.model={pipeline}", "refiner.height=64", "refiner.width=64")
    assert code == 0, capsys.readouterr().err
    with VideoReader(out) as video:
        assert (video.width, video.height) == (64, 64)


def test_a_refiner_of_another_width_says_so_before_torch_is_imported(copy_of_random_bundle, tmp_path):
    change_json(copy_of_random_bundle / "refiner" / "config.json", cross_attention_dim=48)
    words = ["generate", "a", "--bundle", str(copy_of_random_bundle), "--out", str(tmp_path / "x.mp4")]
    code = (
        f"import sys; from longtake.pipelines.__main__ import main; code = main({words!r});"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert "refiner has cross_attention_dim=48, but text_encoder has hidden_size=32" in done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((OFF, "refiner.height=64"), "refiner.height=64 has no effect here: with refiner.enabled=false"),
        ((OFF, "refiner.model=somewhere"), "refiner.model='somewhere': has no effect with refiner.enabled=false"),
        (("refiner.model=nowhere",), "refiner.model=nowhere is neither a folder nor a shipped bundle"),
        (("refiner.model=",), "refiner.model= is empty"),
    ],
)
def test_settings_that_contradict_each_other_are_named(pipeline, tmp_path, capsys, settings, says):
    code, _ = generate(tmp_path, pipeline, *settings)
    assert code == 2 and says in capsys.readouterr().err


def test_to_enhance_is_to_refine(tmp_path, capsys):
    assert main(["enhance", "in.mp4", "--prompt", "a", "--out", str(tmp_path / "x.mp4"), OFF]) == 2
    assert "refiner.enabled=false: to enhance a video is to refine it" in capsys.readouterr().err


def test_what_is_loaded_cannot_differ_from_video_to_video():
    for setting in (("refiner.enabled", False), ("refiner.model", "x")):
        with pytest.raises(ValueError, match=f"{setting[0]}=.* cannot differ from video to video"):
            for_video(load(), (setting,))


def test_without_a_refiner_there_is_one_size(pipeline):
    conf = settled(load(overrides=[f"bundle={pipeline}", OFF]))
    assert (conf.refiner.height, conf.refiner.width, conf.refiner.num_steps) == (32, 32, 0)
    assert (conf.plan.window_frames, conf.plan.overlap_frames) == (16, 8)
    with pytest.raises(ValueError, match=r"refiner.width=64 has no effect .* the base model's frames are 32x32"):
        limits_of(conf).check(for_video(conf, (("refiner.width", 64),)))


def test_a_unet_without_a_size_is_named(copy_of_random_bundle):
    change_json(copy_of_random_bundle / "unet" / "config.json", sample_size=None)
    conf = load(overrides=[f"bundle={copy_of_random_bundle}"])
    with pytest.raises(ValueError, match=r"^base.height is missing: the UNet of this bundle has no size of its own"):
        settled(conf)
    assert settled(load(overrides=[f"bundle={copy_of_random_bundle}", "base.height=32", "base.width=48"]))


def test_records_are_those_of_earlier_releases_unless_the_refiner_is_another(pipeline):
    plain = video_settings(load())
    assert not {"refiner.enabled", "refiner.model", "allow_pickle"} & set(plain)
    assert video_settings(load(overrides=[OFF]))["refiner.enabled"] is False
    assert video_settings(load(overrides=[f"refiner.model={pipeline}"]))["refiner.model"] == str(pipeline)


def test_the_hash_of_the_weights_has_those_of_both_folders(pipeline, random_bundle, copy_of_random_bundle):
    def of(*more):
        return hash_of_all(load(overrides=[f"bundle={random_bundle}", *more]))

    assert of() == hash_of(random_bundle)
    one, other = of(f"refiner.model={pipeline}"), of(f"refiner.model={copy_of_random_bundle}")
    assert len({of(), one, other}) == 3 and one == of(f"refiner.model={pipeline}")


def test_places_that_do_not_depend_on_the_folder_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert [lasting_place(place) for place in ("here", "tiny", "a/b@v1")] == [str(tmp_path / "here"), "tiny", "a/b@v1"]


def test_a_snapshot_of_the_cache_is_a_bundle(pipeline, tmp_path, capsys):
    snapshot = into_cache(pipeline, tmp_path / "cache", "a/b")
    assert model_folder("bundle", str(snapshot)) == snapshot
    code, out = generate(tmp_path, snapshot, OFF)
    assert code == 0 and out.exists(), capsys.readouterr().err


def test_a_cut_file_is_named_before_anything_is_loaded(copy_of_random_bundle, tmp_path, capsys):
    file = weights_of(copy_of_random_bundle / "refiner")
    file.write_bytes(file.read_bytes()[:-10])
    assert generate(tmp_path, copy_of_random_bundle)[0] == 2
    assert "its header says" in capsys.readouterr().err


def test_the_plan_of_a_job_without_a_refiner_is_in_its_records(pipeline):
    settings = video_settings(settled(load(overrides=[f"bundle={pipeline}", OFF])))
    again = load(overrides=[f"bundle={pipeline}"], settings=tuple(json.loads(json.dumps(settings)).items()))
    assert video_settings(again) == settings
