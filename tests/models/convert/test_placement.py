"""The places of tensors: what an error says of those that have none."""

import pytest

from longtake.models.convert.placement import Part, Take, check_places, shape_of

TAKES = {"a": Take("A", (2, 3)), "q": Take("qkv", (4, 5), third=0), "k": Take("qkv", (4, 5), third=1)}
TAKES |= {"t": Take("T", (2, 7), transposed=True), "s": Take("S", (2, 3), squeezed=True)}
PART = Part("net", ("longtake", "Net"), {}, TAKES)
SHAPES = {"A": (2, 3), "qkv": (12, 5), "T": (7, 2), "S": (2, 3, 1)}


def test_whole_tensors_thirds_turned_and_squeezed_ones_fit():
    check_places([PART], SHAPES, ())
    check_places([PART], {**SHAPES, "unused": (1,)}, ["unused"])


@pytest.mark.parametrize(
    ("shapes", "fault"),
    [
        ({**SHAPES, "B": (1,)}, "B has no place here"),
        ({name: shape for name, shape in SHAPES.items() if name != "T"}, "T is missing"),
        ({**SHAPES, "qkv": (4, 5)}, r"qkv is \(4, 5\), expected \(12, 5\)"),
        ({**SHAPES, "S": (2, 3)}, r"S is \(2, 3\), expected \(2, 3, 1\)"),
        ({**SHAPES, "T": (2, 7)}, r"T is \(2, 7\), expected \(7, 2\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(shapes, fault):
    with pytest.raises(ValueError, match=f"^{fault}$"):
        check_places([PART], shapes, ())


def test_five_are_named_and_the_others_counted():
    with pytest.raises(ValueError) as error:
        check_places([PART], {**SHAPES, **{f"B{i}": (1,) for i in range(9)}}, ())
    assert str(error.value).count("has no place here") == 5 and str(error.value).endswith("; and 4 more")


def test_a_tensor_that_sizes_a_network_has_to_be_there_with_its_axes():
    assert shape_of(SHAPES, "A", 2) == (2, 3)
    for name, shapes in {"B": SHAPES, "A": {"A": (2,)}, "T": {"T": (2, 0)}}.items():
        with pytest.raises(ValueError, match=f"^{name} is"):
            shape_of(shapes, name, 2)
