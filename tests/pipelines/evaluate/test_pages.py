import math

import pytest
from jinja2 import UndefinedError

from longtake.pipelines.evaluate.pages import number, render


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1,234"), (math.inf, "∞"), (-4321, "-4,321")]
)
def test_numbers_have_three_significant_digits_and_thousands_are_in_full(value, text):
    assert number(value) == text


def test_a_template_without_one_of_its_values_is_an_error():
    with pytest.raises(UndefinedError):
        render("gallery.html.j2", title="a", note="")
