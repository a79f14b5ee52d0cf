"""Frames of one shape in a frame of another: sizes, and the words about them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.nets.sizes import SideRule, SizeRule
from longtake.models.video.fit import Fit, covering, fit_note, picture_size

SIDE = st.integers(1, 300)
SIZE = st.tuples(SIDE, SIDE)


def multiples(number):
    """The rule of a network that takes the multiples of a number."""
    return SizeRule(SideRule(number), SideRule(number)).within


@given(source=SIZE, frame=SIZE)
def test_the_scaled_source_covers_the_frame_and_keeps_its_shape(source, frame):
    scaled = covering(source, frame)
    assert scaled[0] >= frame[0] and scaled[1] >= frame[1]
    assert scaled[0] == frame[0] or scaled[1] == frame[1]
    scale = max(frame[0] / source[0], frame[1] / source[1])
    assert all(
        abs(side - scale * own) <= 0.5 or side == own_frame
        for side, own, own_frame in zip(scaled, source, frame, strict=True)
    )


@given(source=SIZE, blocks=st.tuples(st.integers(1, 20), st.integers(1, 20)), multiple=st.sampled_from([2, 16, 64]))
def test_a_picture_with_bars_is_the_largest_legal_one_inside_the_frame(source, blocks, multiple):
    frame = blocks[0] * multiple, blocks[1] * multiple
    picture = picture_size(source, frame, Fit.CONTAIN, multiples(multiple))
    assert all(side % multiple == 0 and multiple <= side <= whole for side, whole in zip(picture, frame, strict=True))
    assert picture[0] == frame[0] or picture[1] == frame[1]
    scale = min(frame[0] / source[0], frame[1] / source[1])
    for side, own in zip(picture, source, strict=True):
        assert side == multiple or scale * own - multiple - 0.5 < side <= scale * own + 0.5


@given(source=SIZE, factor=st.integers(1, 4), fit=st.sampled_from(Fit))
def test_frames_of_the_same_shape_fit_in_every_way_and_nothing_is_said(source, factor, fit):
    frame = source[0] * factor, source[1] * factor
    assert covering(source, frame) == picture_size(source, frame, fit, multiples(1)) == frame
    assert fit_note(source, frame, fit, multiples(1)) is None


@pytest.mark.parametrize("fit", [Fit.COVER, Fit.STRETCH])
def test_only_contain_computes_less_than_the_frame(fit):
    assert picture_size((64, 64), (720, 1280), fit, multiples(16)) == (720, 1280)
    assert picture_size((64, 64), (720, 1280), Fit.CONTAIN, multiples(16)) == (720, 720)
    assert picture_size((64, 64), (720, 1280), Fit.CONTAIN, multiples(64)) == (704, 704)


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (
            Fit.COVER,
            "640x480 fills 1280x720: 120 of its 480 rows are cut off, half at each end (refiner.fit=contain adds",
        ),
        (
            Fit.CONTAIN,
            "640x480 is refined at 960x720, with black bars around it up to 1280x720 (refiner.fit=cover cuts",
        ),
        (Fit.STRETCH, "640x480 is stretched to 1280x720 (refiner.fit=cover cuts, contain adds bars)"),
    ],
)
def test_a_note_says_what_happens_and_names_the_other_ways(fit, words):
    note = fit_note((480, 640), (720, 1280), fit, multiples(16))
    assert note is not None and note.startswith(words)
    assert all(other in note for other in set(Fit) - {fit, Fit.STRETCH})


def test_a_note_names_the_setting_as_its_reader_knows_it():
    assert "(fit=contain adds bars" in fit_note((64, 64), (64, 128), Fit.COVER, multiples(16), "fit")


def test_a_picture_whose_shape_no_legal_size_has_is_cut_and_says_so():
    note = fit_note((640, 480), (720, 1280), Fit.CONTAIN, multiples(16))
    assert "is refined at 528x720" in note and "of its 480 columns are cut off" in note


def test_a_picture_keeps_to_the_rules_of_ms_vid2vid_xl():
    rule = SizeRule(SideRule(64, 16), SideRule(64))
    assert picture_size((64, 64), (720, 1280), Fit.CONTAIN, rule.within) == (720, 704)
    assert picture_size((64, 128), (720, 1280), Fit.CONTAIN, rule.within) == (592, 1280)
    assert picture_size((1, 4000), (720, 1280), Fit.CONTAIN, rule.within) == (16, 1280)
