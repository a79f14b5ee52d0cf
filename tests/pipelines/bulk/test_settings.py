"""Settings that a resumed job must share."""

import json

from longtake.pipelines.bulk.settings import differences, job_settings, load_bulk


def test_other_defaults_of_the_bundle_are_other_settings_of_the_job(tmp_path):
    recorded = []
    for steps in (4, 5):
        (tmp_path / "bundle.json").write_text(json.dumps({"defaults": {"base.num_inference_steps": steps}}))
        recorded.append(job_settings(load_bulk(overrides=[f"bundle={tmp_path}", "prompts=x", "out=y"]), "ab"))
    assert differences(*recorded) == ["base.num_inference_steps=4 (now: 5)"]
    (tmp_path / "bundle.json").unlink()
    same = load_bulk(overrides=[f"bundle={tmp_path}", "prompts=x", "out=y", "base.num_inference_steps=5"])
    assert differences(recorded[1], job_settings(same, "ab")) == []
