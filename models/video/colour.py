"""Converts the colours of any video to SDR in BT.709, by the H.273 codes that its frames are tagged with.

The transfer functions and primaries of ordinary SDR video are so close to BT.709 that every player shows them
unchanged, and so do we. All others are converted to linear light, in which 1 is the white of a page (203 cd/m2,
BT.2408). Brighter HDR light is compressed by its strongest channel, which keeps hues. The sRGB curve (IEC 61966-2-1)
turns light into SDR values, so an SDR picture that was converted to HDR comes back as it was.

Shapes: h w rows and columns, 3 channels (red, green, blue).
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16

TRANSFERS = {1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100"}
TRANSFERS |= {10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12"}
TRANSFERS |= {16: "smpte2084", 17: "smpte428", 18: "arib-std-b67"}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}
MATRICES = {8: "ycgco", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp", 15: "ipt-c2"}
MATRICES |= {16: "ycgco-re", 17: "ycgco-ro"}  # of these no pixels can be made

BT2020_CONSTANT = 10  # a matrix with constant luminance
PQ, HLG = 16, 18
_USUAL_TRANSFERS = {0, 1, 2, 3, 6, 7, 11, 12, 13, 14, 15}  # 0, 2 and 3 are unspecified or reserved
_USUAL_PRIMARIES = {0, 1, 2, 3, 5, 6, 7, 22}
_D65 = (0.3127, 0.3290)
_XY = {  # chromaticities of red, green, blue and white
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_WHITE_NITS = 203.0
_PEAK_NITS = 1000.0  # of nearly all HDR video; brighter light is clipped
_KNEE = 0.75  # light below stays as it is; white becomes 240 of 255


def is_usual(transfer: int, primaries: int) -> bool:
    """Whether such colours are shown unchanged."""
    return transfer not in _LIGHT and primaries not in _XY.keys() - {1}


def describe(transfer: int, primaries: int, matrix: int) -> list[str]:
    """Lines on what is done with such colours; none for usual ones. Raises ValueError for unknown matrices."""
    if matrix in MATRICES:
        raise ValueError(f"its colour matrix is {MATRICES[matrix]}, which cannot be converted")
    lines = []
    if not is_usual(transfer, primaries):
        tags = [TRANSFERS[transfer]] if transfer in _LIGHT else []
        tags += [PRIMARIES[primaries]] if primaries in _XY and primaries != 1 else []
        tags += ["bt2020 assumed"] if _assumed(transfer, primaries) != primaries else []
        lines.append(f"its colours are converted: {', '.join(tags)} to SDR in BT.709")
    unknown = ["matrix bt2020c"] if matrix == BT2020_CONSTANT else []
    if transfer not in _USUAL_TRANSFERS and transfer not in _LIGHT:
        unknown.append(f"transfer {TRANSFERS.get(transfer, transfer)}")
    if primaries not in _USUAL_PRIMARIES and primaries not in _XY:
        unknown.append(f"primaries {PRIMARIES.get(primaries, primaries)}")
    if unknown:
        lines.append(f"its colours are rare: {' and '.join(unknown)}, shown as those of BT.709")
    return lines


def to_sdr(rgb: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: int) -> UInt8[np.ndarray, "h w 3"]:
    """Full-range R'G'B' in 16 bits, with tags of H.273, as 8 bits for a BT.709 display."""
    light, primaries = _light_of(transfer)[rgb], _assumed(transfer, primaries)
    if transfer == HLG:
        light = _scene_to_display(light, primaries)
    if primaries in _XY:
        light = light @ _to_bt709(primaries).T
    if transfer in (PQ, HLG):
        light = _compressed(light)
    root = np.sqrt(np.clip(light, 0, 1))  # its 4096 steps are at most a tenth of an 8-bit value; powers are slow
    return np.asarray(_VALUES[(root * 4095 + 0.5).astype(np.uint16)])


def _assumed(transfer: int, primaries: int) -> int:
    """The primaries to assume: HDR without known ones nearly always uses those of BT.2020."""
    return 9 if transfer in (PQ, HLG) and primaries not in _XY else primaries


def _values() -> UInt8[np.ndarray, " 4096"]:
    light = (np.arange(4096) / 4095) ** 2
    signal = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(signal * 255 + 0.5, np.uint8)


_VALUES = _values()


@lru_cache(maxsize=4)
def _light_of(transfer: int) -> Float32[np.ndarray, " 65536"]:
    """Light by code value."""
    signal = np.arange(65536) / 65535
    return np.asarray(_LIGHT.get(transfer, _srgb)(signal), np.float32)


def _srgb(v: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _pq(v: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """SMPTE ST 2084: absolute light, up to 10,000 cd/m2."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = v ** (1 / m2)
    light: np.ndarray = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _WHITE_NITS
    return light


def _hlg(v: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """ARIB STD-B67, BT.2100: light of the scene, 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)


_LIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    8: lambda v: v,
    9: lambda v: np.where(v > 0, 10 ** (2 * (v - 1)), 0),
    10: lambda v: np.where(v > 0, 10 ** (2.5 * (v - 1)), 0),
    PQ: _pq,
    17: lambda v: v**2.6 * 52.37 / 48,
    HLG: _hlg,
}


def _scene_to_display(scene: Float32[np.ndarray, "h w 3"], primaries: int) -> Float32[np.ndarray, "h w 3"]:
    """The light that a display of 1000 cd/m2 makes of HLG: BT.2100, table 5, gamma 1.2."""
    weights = _to_xyz(primaries)[1]
    luminance = scene @ weights.astype(np.float32)
    return np.asarray(scene * (luminance**0.2 * (_PEAK_NITS / _WHITE_NITS))[..., None], np.float32)


def _compressed(light: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Compresses light to 0..1: unchanged up to the knee, then Reinhard's curve, extended so that the peak gives 1."""
    # not .max(-1), which takes ten times longer over three values
    strongest = np.maximum(np.maximum(light[..., 0], light[..., 1]), np.maximum(light[..., 2], 1e-6))
    above = np.maximum(strongest - _KNEE, 0) / (1 - _KNEE)
    top = (_PEAK_NITS / _WHITE_NITS - _KNEE) / (1 - _KNEE)
    wanted = np.minimum(strongest, _KNEE) + (1 - _KNEE) * above * (1 + above / top**2) / (1 + above)
    return np.asarray(light * (wanted / strongest)[..., None], np.float32)


@lru_cache(maxsize=8)
def _to_bt709(primaries: int) -> Float32[np.ndarray, "3 3"]:
    own, ours = _to_xyz(primaries), _to_xyz(1)
    white = _BRADFORD @ own.sum(1), _BRADFORD @ ours.sum(1)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(white[1] / white[0]) @ _BRADFORD
    matrix: np.ndarray = (np.linalg.inv(ours) @ adapt @ own).astype(np.float32)
    return matrix


def _to_xyz(primaries: int) -> Float64[np.ndarray, "3 3"]:
    """Light of the primaries as CIE XYZ: SMPTE RP 177."""
    xyz = np.array([[x, y, 1 - x - y] for x, y in _XY[primaries]])
    white = xyz[3] / xyz[3][1]
    scaled: np.ndarray = xyz[:3].T * np.linalg.solve(xyz[:3].T, white)
    return scaled
