import numpy as np
import pytest

from longtake.models.video.colour import HLG, PQ, describe, is_usual, to_sdr

TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])  # of BT.709, D65
COLOURS = [(0, 0, 0), (255, 255, 255), (128, 128, 128), (230, 30, 30), (30, 200, 40), (20, 40, 220)]


def _light(colours):
    v = np.array(colours, float) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _as_codes(signal):
    return np.round(np.clip(signal, 0, 1) * 65535).astype(np.uint16)[None]


def _pq(nits):
    y = (nits / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def _hlg(nits):
    """The signal that a display of 1000 cd/m2 shows as this light."""
    luminance = nits @ [0.2627, 0.6780, 0.0593]
    scene = nits / 1000 * np.maximum(luminance / 1000, 1e-9)[..., None] ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def _off(found, wanted):
    return np.abs(found[0].astype(int) - np.array(wanted)).max()


@pytest.mark.report("C7")
@pytest.mark.parametrize(("transfer", "signal"), [(PQ, _pq), (HLG, _hlg)])
def test_sdr_that_became_hdr_comes_back(transfer, signal):
    codes = _as_codes(signal(203 * _light(COLOURS) @ TO_BT2020.T))
    sdr = to_sdr(codes, transfer, 9)
    assert _off(sdr[:, 2:], COLOURS[2:]) <= 3 and _off(sdr[:, :1], COLOURS[:1]) <= 3
    assert (sdr == to_sdr(codes, transfer, 2)).all()  # untagged primaries
    assert 235 <= sdr[0, 1].min() and sdr[0, 1].max() <= 245  # the rest is for highlights


def test_highlights_grow_up_to_the_peak_and_keep_their_hue():
    nits = np.array([203.0, 300, 500, 800, 1000, 4000])
    grey = to_sdr(_as_codes(_pq(nits)[:, None].repeat(3, 1)), PQ, 1)[0, :, 0].astype(int)
    assert (np.diff(grey[:5]) > 0).all() and grey[4] == grey[5] == 255
    orange = to_sdr(_as_codes(_pq(nits[:5, None] * [1.0, 0.5, 0.1])), PQ, 1)[0]
    shares = _light(orange) / _light(orange).max(-1, keepdims=True)
    assert np.abs(shares - [1, 0.5, 0.1]).max() < 0.02


@pytest.mark.parametrize(("primaries", "matrix"), [(9, TO_BT2020), (12, TO_P3)])
def test_wide_colours_of_sdr_become_those_of_bt709(primaries, matrix):
    light = _light(COLOURS) @ matrix.T
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert _off(to_sdr(_as_codes(signal), 13, primaries), COLOURS) <= 2


def test_linear_light_and_logarithms_become_values():
    assert _off(to_sdr(_as_codes(_light(COLOURS)), 8, 1), COLOURS) <= 1
    log = np.where(_light(COLOURS) > 0.01, 1 + np.log10(np.maximum(_light(COLOURS), 1e-9)) / 2, 0)
    assert _off(to_sdr(_as_codes(log), 9, 1)[:, 1:3], COLOURS[1:3]) <= 1


def test_greys_stay_grey_whatever_the_primaries():
    for primaries in (9, 10, 11, 12):
        sdr = to_sdr(np.full((1, 1, 3), 30_000, np.uint16), 13, primaries)
        assert np.ptp(sdr.astype(int)) <= 1


@pytest.mark.parametrize("transfer", [1, 2, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("primaries", [1, 2, 4, 5, 6, 7, 8, 22])
def test_ordinary_video_is_shown_unchanged(transfer, primaries):
    assert is_usual(transfer, primaries)
    rare = {4, 5} & {transfer} | {4, 8} & {primaries}
    assert bool(describe(transfer, primaries, 1)) == bool(rare)


@pytest.mark.report("C7")
def test_what_is_converted_or_not_known_is_named():
    assert describe(16, 9, 9) == ["its colours are converted: smpte2084, bt2020 to SDR in BT.709"]
    assert describe(18, 9, 9) == ["its colours are converted: arib-std-b67, bt2020 to SDR in BT.709"]
    assert describe(1, 12, 1) == ["its colours are converted: smpte432 to SDR in BT.709"]
    assert describe(16, 2, 9) == ["its colours are converted: smpte2084, bt2020 assumed to SDR in BT.709"]
    assert describe(5, 300, 1) == ["its colours are rare: transfer gamma28 and primaries 300, shown as those of BT.709"]
    assert describe(1, 1, 10) == ["its colours are rare: matrix bt2020c, shown as those of BT.709"]
    with pytest.raises(ValueError, match="its colour matrix is ictcp, which cannot be converted"):
        describe(16, 9, 14)
