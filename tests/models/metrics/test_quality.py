"""The quality gate of a bulk job: limits, verdicts, seeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.metrics.quality import GateFigures, OnFailure, QualityParams, seed_of, verdict
from longtake.pipelines.bulk.settings import differences, job_settings, load_bulk

GOOD = GateFigures(num_frames=16, scuts=1, motion=0.02, drift=0.1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("max_scuts=-1", "quality.max_scuts=-1 must be at least 0"),
        ("max_scuts=0.5", "quality.max_scuts=0.5 must be a whole number"),
        ("min_motion=2", "quality.min_motion=2.0 must be between 0 and 1"),
        ("max_drift=-0.1", "quality.max_drift=-0.1 must be at least 0"),
        ("max_drift=nan", "quality.max_drift=nan must be a finite number"),
        ("max_reseeds=0", "quality.max_reseeds=0 must be at least 1"),
        ("on_failure=ignore", "quality.on_failure=ignore must be one of fail, flag, reseed"),
        ("max_cuts=1", "did you mean quality.max_scuts"),
    ],
)
def test_a_bad_setting_is_refused_with_field_value_and_rule(setting, message):
    with pytest.raises(ValueError, match=message):
        load_bulk(overrides=["prompts=p.txt", "out=out", f"quality.{setting}"])


def test_a_figure_at_its_limit_is_good_and_beyond_it_the_reason_says_which():
    assert verdict(QualityParams(max_scuts=1, min_motion=0.02, max_drift=0.1), GOOD) is None
    assert verdict(QualityParams(), GOOD) is None
    reason = verdict(QualityParams(max_scuts=0), GOOD)
    assert reason == "scuts=1 in the first 16 frames breaks quality.max_scuts=0"
    assert "motion=0.02" in verdict(QualityParams(min_motion=0.03), GOOD)
    assert "drift=0.1" in verdict(QualityParams(max_drift=0.09), GOOD)
    assert verdict(QualityParams(min_motion=1.0), GateFigures(1, 0, None, 0.0)) is None  # one frame cannot move


def test_without_limits_there_is_nothing_to_measure():
    assert not QualityParams().has_limits
    assert all(QualityParams(**one).has_limits for one in ({"max_scuts": 0}, {"min_motion": 0.0}, {"max_drift": 0.0}))


@pytest.mark.report("B15")
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"on_failure": OnFailure.RESEED}, "on_failure=reseed has no effect without a limit"),
        ({"on_failure": OnFailure.FLAG}, "on_failure=flag has no effect without a limit"),
        ({"max_scuts": 0, "max_reseeds": 5}, "max_reseeds=5 has no effect without on_failure=reseed"),
    ],
)
def test_a_setting_without_an_effect_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        QualityParams(**settings)


@given(st.integers(0, 2**63 - 1))
def test_every_attempt_has_a_seed_of_its_own_that_follows_from_the_one_asked_for(seed):
    seeds = [seed_of(seed, attempt) for attempt in range(4)]
    assert seeds[0] == seed and len(set(seeds)) == 4
    assert seeds == [seed_of(seed, attempt) for attempt in range(4)] and all(0 <= one < 2**63 for one in seeds)


def test_a_job_is_resumed_with_the_limits_that_it_had():
    def settings(*quality):
        return job_settings(load_bulk(overrides=["prompts=p.txt", "out=out", *quality]), "ab")

    assert differences(settings(), settings()) == []
    changed = differences(settings("quality.max_scuts=0"), settings("quality.max_scuts=2"))
    assert changed == ["quality.max_scuts=0 (now: 2)"]
    assert "quality.max_drift=None (now: 0.5)" in differences(settings(), settings("quality.max_drift=0.5"))
