"""A constant frame rate for frames at arbitrary times: which frame shows when, by timestamps alone.

    input      a         b  c                   d         last for: last_s
    grid       0    1    2    3    4    5    6    7    8
    output     a    a    b    c    c    c    c    d    d      counts = (2, 1, 4, 2)

1. Times only go forward. A single time out of order is moved between its neighbours; where two times are equal and one
   is left out nearby, the frames between move by one step; where the clock restarts, or jumps
   by more than MAX_HOLD_S, the next frame follows after the usual step.
2. If some rate puts every frame i within half a frame of i / rate, each frame is shown once at that rate: a rate of the
   header if it fits, else one of our own, within .3 of a frame (one lost frame shifts an average by half a frame).
3. Otherwise the lowest rate, 240 at most, that shows frames within MAX_SHIFT_S of their times, and at most a share of
   MAX_LATE late or not at all. A frame is late when the one before it has taken its place.
4. A frame that is shown begins less than one frame from its time, and the last one ends less than one from its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float64

FALLBACK_FPS = Fraction(25)  # FFmpeg's own guess for a stream without a rate
MIN_FPS, MAX_FPS = Fraction(1, 100), Fraction(1000)  # what an mp4 takes
MAX_GRID_FPS = Fraction(240)
MAX_HOLD_S = 3600.0
MAX_SHIFT_S = 0.1  # of any frame: at a low rate, half a frame is long enough to be noticed
MAX_DELAY = 4  # places by which frames move that others do not refer to: levels of reference
MAX_GROUP = 17  # places of a frame that others refer to: more than 16 B-frames in a row no encoder makes
MAX_BACK = 0.1  # of the steps between frames: more are no glitches
MAX_LATE = 0.02  # share of the frames
UNKNOWN_HOLD_S = 1.0  # at most, for a last frame of unknown length
_NEAR = tuple(by * sign for by in range(1, 9) for sign in (-1, 1))  # steps from a shared time to its gap
USUAL = tuple(
    sorted(
        [Fraction(rate) for rate in (1, 2, 4, 5, 6, 8, 10, 12, 12.5, 15, 16, 20, 24, 25, 30, 40, 48, 50, 60)]
        + [Fraction(rate) for rate in (75, 90, 100, 120, 144, 200, 240)]
        + [Fraction(1000 * rate, 1001) for rate in (24, 30, 60)]
    )
)


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """The result of `time_grid`: frames per second, and for how many frames of the output each input frame shows."""

    fps: Fraction
    counts: tuple[int, ...]  # 0 for a frame that is dropped
    notes: tuple[str, ...] = ()  # what was guessed, repeated and dropped, one line each
    keeps_clock: bool = True  # times of the output are times of the input, so sound stays in sync

    @property
    def num_frames(self) -> int:
        """Frames of the output."""
        return sum(self.counts)


def time_grid(times: Sequence[float | None], last_s: float | None, header: Sequence[Fraction | None]) -> TimeGrid:
    """A grid for frames that begin at `times` in seconds, in order of presentation; None where a file says nothing.

    `last_s` is the length of the last frame, if the file can be believed there; `header` has the rates of its header,
    the best one first. Raises ValueError for no frames.
    """
    if not times:
        raise ValueError("times has 0 frames: there is no rate without one")
    rates = [rate for rate in header if rate is not None and MIN_FPS <= rate <= MAX_FPS]
    if not any(time is not None for time in times):
        rates = rates[-1:]  # for a raw stream, the first one is FFmpeg's assumption
    if len(times) == 1:
        return _single(last_s, rates)
    starts, notes, keeps_clock = _forward(times, rates)
    last = min(last_s, MAX_HOLD_S) if last_s else min(float(starts[-1] - starts[-2]), UNKNOWN_HOLD_S)
    for rate in [*rates, *_usual((len(starts) - 1) / float(starts[-1]))]:
        if _fits(starts, last, rate, 0.5 if rate in rates else 0.3):
            if rates and rate != rates[0]:
                notes.append(f"its header is wrong: {_text(rates[0])} fps, but {_text(rate)} fps by its timestamps")
            return TimeGrid(rate, (1,) * len(starts), tuple(notes), keeps_clock)
    rate, counts = _variable(starts, last, rates)
    notes.append(f"its frame rate varies: at {_text(rate)} fps, {_last(last, last_s, counts)}{_changes(counts)}")
    return TimeGrid(rate, counts, tuple(notes), keeps_clock)


def _single(last_s: float | None, rates: Sequence[Fraction]) -> TimeGrid:
    """One frame for as long as the file says, whatever rate a header may give."""
    if last_s and not any(abs(rate * last_s - 1) < 0.1 for rate in rates[:1]):
        lasts = f"its only frame lasts {last_s:.3g} s"
        notes = [f"its header is wrong: {_text(rates[0])} fps, but {lasts}"] if rates else []
        notes += [f"{lasts}: {MAX_HOLD_S:.5g} s shown"] if last_s > MAX_HOLD_S else []
        rate = _limited(1 / last_s)
        return TimeGrid(rate, (max(1, round(min(last_s, MAX_HOLD_S) * rate)),), tuple(notes))
    assumed = () if rates else (f"it has no frame rate: {_text(FALLBACK_FPS)} fps assumed",)
    return TimeGrid(rates[0] if rates else FALLBACK_FPS, (1,), assumed)


def _forward(
    times: Sequence[float | None], rates: Sequence[Fraction]
) -> tuple[Float64[np.ndarray, " n"], list[str], bool]:
    """Seconds from the first frame on, by rule 1; what was changed; and whether the clock is still the input's."""
    known = np.array([np.nan if time is None else time for time in times], np.float64)
    found = np.flatnonzero(~np.isnan(known))
    notes = []
    back = np.diff(known[found]) < 0
    if back.any() and (_is_reordered(known[found]) or (back.sum() > 1 and back.mean() > MAX_BACK)):
        known[found] = np.sort(known[found])  # AVI, ASF and MXF have times of decoding, which B-frames reorder
        notes.append(f"its timestamps are those of decoding: {int(back.sum())} of {len(known)} out of order, sorted")
    steps = np.diff(known[found]) / np.diff(found)
    forward = steps[(steps > 0) & (steps <= MAX_HOLD_S)]
    usual = float(np.median(forward)) if len(forward) else float(1 / (rates[0] if rates else FALLBACK_FPS))
    if not len(forward):
        notes.append(f"its frames have no timestamps: {_text(Fraction(usual) ** -1)} fps assumed")
        return np.arange(len(known)) * usual, notes, False
    if len(found) < len(known):
        notes.append(
            f"some frames have no timestamps: {len(known) - len(found)} of {len(known)}, set between their neighbours"
        )
        at = np.arange(len(known))
        outside = np.minimum(at - found[0], 0) + np.maximum(at - found[-1], 0)
        known = np.interp(at, found, known[found]) + outside * usual
    moved = _evened(known, usual)
    if moved:
        notes.append(f"some frames share a timestamp: {moved} of {len(known)} moved by a frame, to a gap nearby")
    glitches = [i for i in range(1, len(known) - 1) if known[i] < known[i - 1] < known[i + 1]]
    for i in glitches:
        known[i] = (known[i - 1] + known[i + 1]) / 2
    steps = np.diff(known)
    jumps = (steps < 0) | (steps > MAX_HOLD_S)
    if glitches:
        notes.append(f"its timestamps are out of order: {len(glitches)} of {len(known)}, set between their neighbours")
    if jumps.any():
        notes.append(f"its clock jumps: jumps {int(jumps.sum())}, the parts are joined")
    starts = np.concatenate([[0.0], np.cumsum(np.where(jumps, usual, steps))])
    return starts, notes, not jumps.any()


def _is_reordered(known: Float64[np.ndarray, " n"]) -> bool:
    """Whether times are an even row out of order, in which single frames have the time of one up to 17 places before.

    A frame that others refer to is decoded before them, and shown after them. All others then move by a few places. A
    clock that was set back does not leave the places free that its new times take.
    """
    order = np.argsort(known, kind="stable")
    steps = np.diff(known[order])
    usual = float(np.median(steps))
    moved = np.argsort(order) - np.arange(len(known))  # to later places
    even = usual > 0 and bool((np.abs(steps - usual) < 0.2 * usual).all())
    return even and moved.max() <= MAX_DELAY and moved.min() >= -MAX_GROUP


def _evened(known: Float64[np.ndarray, " n"], usual: float) -> int:
    """Moves frames by one step from a shared time towards a gap of one frame nearby; returns how many.

    In a program stream some frames get the time of the one after, which then has the same.
    """
    steps = np.diff(known)
    gap = np.abs(steps - 2 * usual) < 0.2 * usual
    moved = 0
    for at in np.flatnonzero(steps == 0).tolist():
        near = next((at + by for by in _NEAR if 0 <= at + by < len(gap) and gap[at + by]), None)
        if near is not None:
            gap[near] = False
            known[min(at, near) + 1 : max(at, near) + 1] += usual if at < near else -usual
            moved += abs(near - at)
    return moved


def _fits(starts: Float64[np.ndarray, " n"], last: float, rate: Fraction, frames: float) -> bool:
    """Whether every frame once, at this rate, is what the timestamps say, within `frames`: rule 2."""
    period = float(1 / rate)
    shift = np.abs(starts - np.arange(len(starts)) * period).max()
    end = abs(len(starts) * period - float(starts[-1]) - last)
    return bool(shift <= min(frames * period, MAX_SHIFT_S) and end <= min(max(period, MAX_SHIFT_S), 0.5))


def _variable(
    starts: Float64[np.ndarray, " n"], last: float, rates: Sequence[Fraction]
) -> tuple[Fraction, tuple[int, ...]]:
    """The rate of rule 3, and for how long each frame shows."""
    steps = np.append(np.diff(starts), last)
    found = [_usual(1 / float(step))[0] for step in np.quantile(steps[steps > 0], (0.05, 0.1, 0.25, 0.5))]
    new = [rate for rate in found if all(abs(rate / known - 1) > 0.01 for known in rates)]
    wanted = {*rates, *new, Fraction(10), Fraction(25), Fraction(30)}
    best: tuple[int, Fraction, list[int]] | None = None
    for rate in sorted({min(rate, MAX_GRID_FPS) for rate in wanted}):
        places = _places(starts, rate)
        late = int((np.array(places) != (starts * float(rate) + 0.5).astype(int)).sum())
        if _close(starts, last, rate, places) and (best is None or late < best[0]):
            best = late, rate, places
            if late <= MAX_LATE * len(starts):
                break
    assert best is not None, "at 30 fps any frame is close"
    _, rate, places = best
    shown = [i for i, place in enumerate(places) if place >= 0]
    ends = [*(places[i] for i in shown[1:]), _end(starts, last, rate, places)]
    counts = [0] * len(starts)
    for i, end in zip(shown, ends, strict=True):
        counts[i] = end - places[i]
    return rate, tuple(counts)


def _changes(counts: Sequence[int]) -> str:
    drops = counts.count(0)
    return f"repeated frames {sum(counts) - len(counts) + drops}, dropped {drops} of {len(counts)}"


def _last(last: float, last_s: float | None, counts: Sequence[int]) -> str:
    """The decision about the last frame, in words, if it shows."""
    if last == last_s or (counts[-1] < 2 and last < UNKNOWN_HOLD_S):
        return ""
    return f"the last frame for {last:.3g} s ({f'not {last_s:.5g} s' if last_s else 'a guess'}), "


def _places(starts: Float64[np.ndarray, " n"], rate: Fraction) -> list[int]:
    """The output frame at which each frame begins, or -1 for a frame that would be a whole frame late: rule 4."""
    places, free = [], 0
    for start in (starts * float(rate)).tolist():
        place = max(free, int(start + 0.5))
        if place - start < 0.999:
            places.append(place)
            free = place + 1
        else:
            places.append(-1)
    return places


def _end(starts: Float64[np.ndarray, " n"], last: float, rate: Fraction, places: Sequence[int]) -> int:
    return max(max(places) + 1, int((float(starts[-1]) + last) * float(rate) + 0.5))


def _close(starts: Float64[np.ndarray, " n"], last: float, rate: Fraction, places: Sequence[int]) -> bool:
    """Whether all frames that show, and the end, are within MAX_SHIFT_S, or half a frame at a high rate."""
    period = float(1 / rate)
    shown = np.array(places) >= 0
    shift = np.abs(np.array(places)[shown] * period - starts[shown]).max()
    end = abs(_end(starts, last, rate, places) * period - float(starts[-1]) - last)
    return bool(max(shift, end) <= max(MAX_SHIFT_S, 2 / float(MAX_GRID_FPS)))


def _usual(rate: float) -> list[Fraction]:
    """The rates that people use near this one, nearest first, and the rate itself."""
    near = sorted((abs(float(usual) / rate - 1), usual) for usual in USUAL)
    return [*(usual for distance, usual in near if distance < 0.05), _limited(rate)]


def _limited(rate: float) -> Fraction:
    return Fraction(min(max(rate, float(MIN_FPS)), float(MAX_FPS))).limit_denominator(1001)


def _text(rate: Fraction) -> str:
    return f"{float(rate):.5g}"
