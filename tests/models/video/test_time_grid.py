from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.models.video.time_grid import time_grid

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(60), Fraction(240)]
steps_ms = st.lists(st.integers(1, 3000), min_size=1, max_size=60)


def _starts(grid):
    """For each frame that is shown: its number and the time at which the output begins to show it."""
    frame = 0
    for i, count in enumerate(grid.counts):
        if count:
            yield i, float(frame / grid.fps)
        frame += count


@given(rate=st.sampled_from(RATES), n=st.integers(1, 400), begin=st.integers(0, 10**6), ms=st.booleans())
def test_a_constant_rate_keeps_every_frame_and_the_very_rate_of_the_header(rate, n, begin, ms):
    times = [begin + float(i / rate) for i in range(n)]
    times = [round(time, 3) for time in times] if ms else times  # clocks of WebM and Matroska tick in milliseconds
    grid = time_grid(times, float(1 / rate), [rate, None])
    assert (grid.fps, grid.counts, grid.notes, grid.keeps_clock) == (rate, (1,) * n, (), True)


@given(
    rate=st.sampled_from(RATES), n=st.integers(3, 400), wrong=st.sampled_from([Fraction(1000), Fraction(90000), None])
)
def test_a_header_without_a_credible_rate_does_not_count(rate, n, wrong):
    grid = time_grid([float(i / rate) for i in range(n)], None, [wrong])
    assert grid.fps == rate and grid.counts == (1,) * n
    assert bool(grid.notes) == (wrong == 1000)


@given(steps=steps_ms, last=st.integers(1, 3000), header=st.sampled_from([*RATES, Fraction(60000, 1001), None]))
def test_whatever_the_times_a_frame_begins_less_than_a_frame_from_its_own_and_the_end_stays(steps, last, header):
    times = [sum(steps[:i]) / 1000 for i in range(len(steps) + 1)]
    grid = time_grid(times, last / 1000, [header])
    period = float(1 / grid.fps)
    assert all(abs(times[i] - begin) <= period + 1e-6 for i, begin in _starts(grid))
    assert abs(grid.num_frames * period - times[-1] - last / 1000) <= max(period, 0.1) + 1e-6
    assert len(grid.counts) == len(times) and min(grid.counts) >= 0


@given(steps=st.lists(st.sampled_from([17, 33, 34, 50, 100, 1000]), min_size=20, max_size=200))
def test_of_usual_steps_hardly_a_frame_is_dropped_and_what_is_changed_is_counted(steps):
    times = [sum(steps[:i]) / 1000 for i in range(len(steps) + 1)]
    grid = time_grid(times, None, [])
    dropped = grid.counts.count(0)
    assert dropped <= 0.02 * len(times)
    if grid.counts != (1,) * len(times):
        repeated = grid.num_frames - len(times) + dropped
        assert grid.notes[-1].endswith(f"repeated frames {repeated}, dropped {dropped} of {len(times)}")


def test_the_shot_of_a_phone_that_slows_down_in_the_dark_plays_at_the_faster_rate():
    times = [i / 30 for i in range(300)] + [10 + i / 24 for i in range(240)]
    grid = time_grid(times, 1 / 24, [Fraction(27)])
    assert grid.fps == 30 and grid.num_frames == 600 and 0 not in grid.counts


@pytest.mark.parametrize(("last", "num_frames"), [(0.1, 3), (2.0, 22), (0.001, 3)])
def test_the_last_frame_is_shown_for_its_own_length(last, num_frames):
    grid = time_grid([0.0, 0.1, 0.2], last, [Fraction(10)])
    assert grid.fps == 10 and grid.num_frames == num_frames


def test_a_last_frame_of_unknown_length_is_shown_like_the_one_before_for_a_second_at_most():
    assert time_grid([0.0, 0.1, 0.2, 0.7], None, [Fraction(10)]).num_frames == 12
    assert time_grid([0.0, 0.1, 0.2, 9.2], None, [Fraction(10)]).num_frames == 102


def test_one_lost_frame_is_a_repeat_and_no_odd_rate():
    times = [i / 24 for i in range(48) if i != 20]
    grid = time_grid(times, 1 / 24, [Fraction(24)])
    assert grid.fps == 24 and grid.num_frames == 48


def test_parts_whose_clock_starts_again_are_joined():
    part = [i / 25 for i in range(10)]
    grid = time_grid([*part, *part], 1 / 25, [Fraction(25)])
    assert (grid.fps, grid.counts, grid.keeps_clock) == (25, (1,) * 20, False)
    assert "its clock jumps" in grid.notes[0]


def test_a_rest_of_hours_is_a_clock_that_was_set():
    grid = time_grid([0.0, 0.04, 0.08, 90_000.0, 90_000.04], 0.04, [Fraction(25)])
    assert (grid.fps, grid.num_frames, grid.keeps_clock) == (25, 5, False)


def test_one_time_out_of_order_is_set_between_its_neighbours():
    grid = time_grid([0.0, 0.04, 0.08, 0.06, 0.16], 0.04, [Fraction(25)])
    assert (grid.fps, grid.counts, grid.keeps_clock) == (25, (1,) * 5, True)
    assert "out of order: 1 of 5" in grid.notes[0]


@pytest.mark.parametrize("times", [[None] * 5, [7.0] * 5, [None, 3.0, None, None, None]])
def test_without_times_the_rate_of_the_header_or_25_is_assumed_and_said(times):
    for header, fps in (([Fraction(12)], 12), ([None], 25), ([Fraction(90000)], 25)):
        grid = time_grid(times, None, header)
        assert (grid.fps, grid.counts, grid.keeps_clock) == (fps, (1,) * 5, False)
        assert grid.notes == (f"its frames have no timestamps: {fps} fps assumed",)


def test_missing_times_are_set_between_their_neighbours():
    grid = time_grid([None, 0.04, None, None, 0.16, None], 0.04, [Fraction(25)])
    assert (grid.fps, grid.counts) == (25, (1,) * 6)
    assert grid.notes == ("some frames have no timestamps: 4 of 6, set between their neighbours",)


def test_a_single_frame_is_one_frame_for_as_long_as_its_file_says():
    assert time_grid([0.0], 1 / 12, [Fraction(12)]).fps == 12
    assert time_grid([5.0], 5.0, [None]) == time_grid([0.0], None, [Fraction(1, 5)])
    grid = time_grid([0.0], 0.1, [Fraction(100)])
    assert grid.fps == 10 and grid.notes == ("its header is wrong: 100 fps, but its only frame lasts 0.1 s",)
    assert time_grid([0.0], None, []).notes == ("it has no frame rate: 25 fps assumed",)


def test_no_frames_have_no_rate():
    with pytest.raises(ValueError, match="0 frames"):
        time_grid([], None, [Fraction(25)])


@pytest.mark.report("C2")
def test_times_of_decoding_are_put_in_order():
    """What AVI says of H.264 with B-frames, whose frames come in the order in which they are shown."""
    order = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]
    grid = time_grid([place / 25 for place in order], 1 / 25, [Fraction(25)])
    assert (grid.fps, grid.counts) == (25, (1,) * len(order))
    assert any("of decoding" in note for note in grid.notes)


@pytest.mark.parametrize("group", range(2, 9))
@pytest.mark.parametrize("num_groups", [1, 2, 5])
def test_times_of_decoding_are_known_by_any_number_of_frames_between_two_others(group, num_groups):
    """In every group the last frame is decoded first."""
    order = [0]
    for start in range(1, group * num_groups + 1, group):
        order += [*range(start + 1, start + group), start]
    grid = time_grid([place / 25 for place in order], 1 / 25, [Fraction(25)])
    assert (grid.fps, grid.counts, grid.keeps_clock) == (25, (1,) * len(order), True)
    assert any("of decoding" in note for note in grid.notes)


@pytest.mark.parametrize("times", [[*range(10, 20), *range(10)], [*range(10), *range(20, 30), *range(10, 20)]])
def test_parts_in_another_order_are_no_times_of_decoding(times):
    grid = time_grid([time / 25 for time in times], 1 / 25, [Fraction(25)])
    assert not grid.keeps_clock and "its clock jumps" in grid.notes[0]


@pytest.mark.report("C2")
def test_a_guessed_length_of_the_last_frame_is_said_where_it_shows():
    def said(times, last_s, header):
        return "a guess" in " ".join(time_grid(times, last_s, [header]).notes)

    grid = time_grid([0.0, 0.1, 0.2, 0.7], None, [Fraction(10)])
    assert grid.notes == (
        "its frame rate varies: at 10 fps, the last frame for 0.5 s (a guess), repeated frames 8, dropped 0 of 4",
    )
    assert said([0.0, 5.0, 10.0, 20.0], None, Fraction(1))  # its ten seconds became one
    assert not said([0.0, 0.1, 0.2, 0.7], 0.5, Fraction(10))  # the file says so
    assert not said([0.0, 0.1, 0.2, 0.7, 0.8], None, Fraction(10))  # one frame
    assert not said([i / 25 for i in range(40)], None, Fraction(25))  # a constant rate


@pytest.mark.report("C2")
def test_a_last_frame_of_days_is_shown_for_an_hour_and_said():
    grid = time_grid([0.0, 0.1, 0.2], 90_000.0, [Fraction(10)])
    assert grid.num_frames / grid.fps == pytest.approx(3600.2)
    assert "the last frame for 3.6e+03 s (not 90000 s)" in grid.notes[0]
    alone = time_grid([0.0], 90_000.0, [])
    assert alone.num_frames / alone.fps == 3600 and alone.notes == ("its only frame lasts 9e+04 s: 3600 s shown",)


@pytest.mark.report("C1")
@pytest.mark.parametrize("last_s", [150.0, 200.0, 1000.0])
def test_a_single_frame_may_be_shown_for_longer_than_one_frame_of_the_lowest_rate(last_s):
    grid = time_grid([0.0], last_s, [])
    assert grid.num_frames / grid.fps == pytest.approx(last_s, abs=50)


@pytest.mark.report("C2")
@pytest.mark.parametrize("places", [[0, 1, 2, 4, 4, 5], [0, 1, 3, 4, 4, 5], [0, 1, 1, 3, 4, 5], [0, 1, 1, 2, 4, 5]])
def test_where_two_frames_share_a_time_beside_a_gap_every_frame_is_kept(places):
    grid = time_grid([place / 25 for place in places], 1 / 25, [Fraction(25)])
    assert (grid.fps, grid.counts, grid.keeps_clock) == (25, (1,) * 6, True)
    assert grid.notes[0].startswith("some frames share a timestamp") and len(grid.notes) == 1
