"""Settings that a resumed job must share."""

import json

from longtake.pipelines.bulk.settings import differences, job_settings, load_bulk
from longtake.pipelines.config.provenance import weights_of


def test_other_defaults_of_the_bundle_are_other_settings_of_the_job(tmp_path):
    recorded = []
    for steps in (4, 5):
        (tmp_path / "bundle.json").write_text(json.dumps({"defaults": {"base.num_inference_steps": steps}}))
        recorded.append(job_settings(load_bulk(overrides=[f"bundle={tmp_path}", "prompts=x", "out=y"]), "ab"))
    assert differences(*recorded) == ["base.num_inference_steps=4 (now: 5)"]
    (tmp_path / "bundle.json").unlink()
    same = load_bulk(overrides=[f"bundle={tmp_path}", "prompts=x", "out=y", "base.num_inference_steps=5"])
    assert differences(recorded[1], job_settings(same, "ab")) == []


def test_a_refiner_that_moved_is_no_other_setting_and_another_in_its_place_is(copy_of_random_bundle, tmp_path):
    def recorded(folder):
        conf = load_bulk(overrides=["prompts=x", "out=y", f"refiner.model={folder}"])
        return job_settings(conf, weights_of(conf))

    before, moved = recorded(copy_of_random_bundle), tmp_path / "moved"
    copy_of_random_bundle.rename(moved)
    assert differences(before, recorded(moved)) == []
    assert recorded(moved)["refiner.model"] == str(moved)  # where `regenerate` finds it
    (moved / "refiner" / "note.txt").write_text("other weights")
    (changed,) = differences(before, recorded(moved))
    assert changed.startswith("bundle_sha256=")
    own = load_bulk(overrides=["prompts=x", "out=y"])
    assert any(text.endswith("copy (now: None)") for text in differences(before, job_settings(own, "ab")))
