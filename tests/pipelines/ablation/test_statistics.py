"""Means, paired differences and claims, on numbers."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.ablation.claims import CLAIMS, ORDERS
from longtake.pipelines.ablation.settings import VARIANTS
from longtake.pipelines.ablation.statistics import METRICS, Claim, Verdict, difference, mean, verdict


def rows(**variants):
    return [
        {"variant": name.replace("_", "-"), "index": i, "scuts": value, "mawe_cvpr": value, "color_end": bool(value)}
        for name, values in variants.items()
        for i, value in enumerate(values)
    ]


CUTS = Claim("c", "s", "scuts", "no-cam", "full")


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=9), st.floats(-10, 10))
def test_a_paired_difference_cancels_the_differences_between_prompts(values, shift):
    found = difference(rows(full=values, no_cam=[v + shift for v in values]), METRICS["scuts"], "no-cam", "full")
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert found.mean == pytest.approx(shift, abs=1e-9) and found.high - found.low == pytest.approx(0, abs=1e-9)


def test_a_ratio_metric_is_compared_as_a_ratio():
    found = difference(rows(full=[1, 10, 100], no_cam=[2, 20, 200]), METRICS["mawe_cvpr"], "no-cam", "full")
    assert found.mean == pytest.approx(2) and found.low == pytest.approx(2) and found.count == 3


def test_what_is_infinite_or_missing_is_left_out_and_counted():
    given_ = rows(full=[1.0, 1.0, 1.0, 1.0], no_cam=[2.0, math.inf, None, 2.0])
    found = difference(given_, METRICS["mawe_cvpr"], "no-cam", "full")
    assert found.count == 2 and found.left_out == 2 and found.mean == pytest.approx(2)
    assert mean(rows(full=[math.inf, None]), METRICS["mawe_cvpr"], "full") is None


def test_only_prompts_that_both_have_are_compared():
    found = difference(rows(full=[1], no_cam=[3, 100, 100]), METRICS["scuts"], "no-cam", "full")
    assert found.count == 1 and found.mean == 2


def test_a_share_is_of_videos_and_lies_in_its_interval():
    found = mean(rows(full=[1, 1, 1, 0]), METRICS["color_end"], "full")
    assert found.mean == 0.75 and found.low < 0.75 < found.high


@pytest.mark.parametrize(
    ("no_cam", "said"),
    [
        ([3, 4, 5, 4, 3, 4], Verdict.HOLDS),
        ([-3, -4, -5, -4, -3, -4], Verdict.FAILS),
        ([1, -1, 1, -1, 1, -1], Verdict.OPEN),
        ([0] * 6, Verdict.OPEN),
        ([9] * 5, Verdict.OPEN),
        ([], Verdict.OPEN),
    ],
)
def test_a_claim_is_decided_only_by_six_pairs_or_more_and_an_interval_on_one_side_of_nothing(no_cam, said):
    assert verdict(rows(full=[0] * len(no_cam), no_cam=no_cam), CUTS)[0] is said


@pytest.mark.parametrize(("no_cam", "said"), [([2, 3, 4] * 2, Verdict.HOLDS), ([0.5, 0.4] * 3, Verdict.FAILS)])
def test_for_a_ratio_no_effect_is_one(no_cam, said):
    claim = Claim("c", "s", "mawe_cvpr", "no-cam", "full")
    assert verdict(rows(full=[1] * 6, no_cam=no_cam), claim)[0] is said


def test_claims_name_existing_metrics_and_variants():
    assert {claim.metric for claim in CLAIMS} <= set(METRICS)
    assert {v for claim in CLAIMS for v in (claim.greater, claim.lesser)} <= set(VARIANTS)
    asked = [(claim.greater, claim.lesser) for claim in CLAIMS if claim.metric == "flow_std"]
    assert all(step in asked for order in ORDERS for step in pairwise(order))
