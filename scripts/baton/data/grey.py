"""Grey images of more than 8 bits: which of their values is black, and which white.

The container says nothing of that: a scan of 12 bits comes in 16, measurements in floats of any range. Where a file
declares its range, that counts; else it follows from all images of the study of the same sample type together, so that it
is one for all of them. A model keeps the ranges of its study.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

BITS = (8, 10, 12, 14, 16)
FEW = 0.01  # of an image's pixels
WHOLE = (0.0, 65535.0)  # what earlier versions took all whole numbers for
# TIFF: bits per sample, photometric interpretation, sample format, and the ranges that a file may declare.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
LEAST, MOST, LEAST_OF_ANY, MOST_OF_ANY = 280, 281, 340, 341

Range = tuple[float, float]


class Depth(NamedTuple):
    """What a deep grey image's file says of its values.

    sample: their type, such as uint16 or float32; declared: their range, None where the file declares none; inverted:
    whether the lowest is white.
    """

    sample: str
    declared: Range | None
    inverted: bool


def read_depth(image, path) -> Depth | None:
    """Return the Depth of a PIL image as it was opened from `path`, None for one of 8 bits or in colour."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return None
    tags = getattr(image, "tag_v2", {})
    kind, bits = _first(tags.get(SAMPLE_FORMAT)), _first(tags.get(BITS_PER_SAMPLE))
    sample = "float32" if image.mode == "F" else "int32" if image.mode == "I" else "uint16"
    if image.mode == "I" and bits in (16, 32) and kind in (1, 2, None):
        sample = f"{'' if kind == 2 else 'u'}int{bits:.0f}"
    declared = None
    for least, most in ((LEAST_OF_ANY, MOST_OF_ANY), (LEAST, MOST)):
        low, high = _first(tags.get(least)), _first(tags.get(most))
        if declared is None and high is not None and high > (low or 0):
            declared = (float(low or 0), float(high))
    if image.format == "PPM" and image.mode != "F":
        declared = WHOLE  # Pillow has scaled it to this from the range that its header declares
    if image.format == "PNG" and (significant := _read_significant_bits(path)):
        declared = (0.0, 2.0**significant - 1)
    return Depth(sample, declared, _first(tags.get(PHOTOMETRIC)) == 0)


def _first(value):
    if isinstance(value, tuple):
        return value[0] if value else None
    return value


def _read_significant_bits(path):
    """Return what the chunk sBIT of a PNG says, None where there is none; it stands before the image data."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            size = int.from_bytes(head[:4], "big")
            if head[4:] == b"sBIT":
                return file.read(1)[0]
            file.seek(size + 4, 1)
    return None


def read_values(image, depth: Depth) -> np.ndarray:
    """Return the values of a deep grey image, (height, width), as float64; NaN as 0."""
    values = np.asarray(image)
    if depth.sample == "uint32":
        values = values.view(np.uint32)  # Pillow has it as int32
    return np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)


def range_of(values: np.ndarray, depth: Depth) -> Range:
    """Return the range of an image's own values, or the one that its file declares and that holds them."""
    low, high = float(values.min()), float(values.max())
    if depth.declared is None:
        return low, high
    if high > depth.declared[1] and depth.sample == "uint16":
        return WHOLE  # sBIT of a writer that scaled its values, as the PNG specification has it
    return depth.declared


def inner_range(values: np.ndarray) -> Range:
    """Return the range of an image's values, without one at either end that says nothing of the picture's contrast.

    Such a one is a lowest value below 0, which may stand for no data (-9999), or a highest of few pixels, which may be
    burnt in; of an image of two values both count.
    """
    low, high = float(values.min()), float(values.max())
    inner = values[(values > low) & (values < high)]
    if not inner.size:
        return low, high
    ranges = [(low, high)]
    if low < 0:
        ranges.append((float(inner.min()), high))
    if (values == high).mean() < FEW:
        ranges.append((low, float(inner.max())))
    return min(ranges, key=lambda limits: limits[1] - limits[0])


def find_ranges(found: Iterable[tuple[str, Range]]) -> dict[str, Range]:
    """Return by sample type the range that the images of a study are scaled by.

    found: sample type and range of values of each image whose file declares none. From 0 to the highest value, rounded up
    to 8, 10, 12, 14 or 16 bits; to 1 for floats up to 1; where there are values below 0, from the lowest to the highest.
    """
    ranges: dict[str, Range] = {}
    for sample, (low, high) in found:
        before = ranges.get(sample, (low, high))
        ranges[sample] = (min(low, before[0]), max(high, before[1]))
    return {sample: _round_up(sample, *limits) for sample, limits in sorted(ranges.items())}


def _round_up(sample, low, high):
    if low < 0:
        return low, high
    if sample.startswith("float") and 1 / 255 < high <= 1:
        return 0.0, 1.0
    if sample.startswith("float") and high <= 1:
        return 0.0, high  # by 0 to 1 they would all be black
    return 0.0, next((2.0**bits - 1 for bits in BITS if high < 2**bits), high)


def to_8_bits(values: np.ndarray, limits: Range, inverted: bool) -> np.ndarray:
    """Return values scaled from a range to 0 to 255, uint8; inverted: the lowest becomes white."""
    low, high = limits
    if limits == WHOLE:
        scaled = np.clip(values, *WHOLE) // 256  # the high byte, as in earlier versions
    else:
        scaled = np.rint(np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255)
    return (255 - scaled if inverted else scaled).astype(np.uint8)
