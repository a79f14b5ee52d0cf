import math
from xml.etree import ElementTree

import pytest

from longtake.pipelines.evaluate.pictures import HEIGHT, WIDTH, curve, histogram


def bars(svg):
    return [float(bar.get("height")) for bar in ElementTree.fromstring(svg).iter("rect")]


def test_a_bar_is_as_tall_as_its_share_of_the_most_frequent():
    assert bars(histogram([0, 0, 0, 0, 1, 1, 2], "x", bins=3)) == [HEIGHT, HEIGHT / 2, HEIGHT / 4]


def test_equal_values_are_one_bar():
    assert bars(histogram([5, 5], "x")) == [HEIGHT]


@pytest.mark.parametrize("values", [[1.0], [3.0, 1.0, 2.0], [1.0, math.inf, 2.0], [2.0, 2.0]])
def test_a_curve_stays_in_its_picture(values):
    line = next(ElementTree.fromstring(curve(values, "x")).iter("polyline"))
    points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
    assert len(points) == sum(map(math.isfinite, values))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_a_picture_has_a_text_alternative_and_its_text_is_escaped():
    svg = curve([1.0, 4.0], "a <b> & c")
    assert ElementTree.fromstring(svg).get("aria-label") == "a <b> & c over the video, from 1 to 4"


def test_a_curve_without_finite_values_is_empty():
    assert curve([math.inf, math.nan], "x") == ""
