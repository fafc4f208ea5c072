"""Damage that decoders forgive: what a file holds beside the pixels that come out of it.

Pillow reads a JPEG whose scan is broken with a grey rest or shifted colours, and without a word. libjpeg does warn, and
simplejpeg passes its warnings on.
"""

import mmap
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import simplejpeg

# After a JPEG's start of scan: the next marker that is neither a stuffed byte, a restart nor a fill byte.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
END = 0xD9  # of the image
# libjpeg's warnings that say that the scan itself is broken.
BROKEN = ("premature end", "bad huffman code")
# Those that say nothing of it: what simplejpeg cannot do, and Pillow can.
NO_WARNINGS = (
    "unsupported color",
    "unsupported colour",
    "unsupported subsampling",
    "could not",
    "not supported",
)
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Interlaced, Adam7: first column and row, and the steps between them, of each pass.
PNG_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
# The place and the mark of formats in which nothing tells that data are lost: WEBP, AVIF and HEIC, JPEG 2000.
WITHOUT_CHECKSUM = ((8, b"WEBP"), (4, b"ftyp"), (4, b"jP  "), (0, b"\xff\x4f\xff\x51"))
CONTRAST = 8  # between the darkest and the brightest value, of 255
ZEROS = bytes(64)
FLAT = 0.05  # share of an image's rows, at its lower end, that are one colour where a decoder got no data


def read_warnings(path: str) -> tuple[str | None, str | None]:
    """Return what is broken in a file that Pillow decodes, and what else its decoder warns of; each None for nothing."""
    with open(path, "rb") as file:
        start = file.read(8)
        if start.startswith(b"\xff\xd8"):
            return _read_jpeg_warnings(start + file.read())
    if start == b"\x89PNG\r\n\x1a\n":
        return _find_missing_rows(Path(path)), None
    return None, None


def read_sound_jpeg(data: bytes, factor: int) -> np.ndarray | None:
    """Return the pixels of a JPEG, (height, width, 3) uint8, RGB, at 1 / factor of its size, None unless nothing is wrong with it.

    That is as sure as decoding it in full: every bit of its scans is read. factor: 1, 2, 4 or 8.
    """
    try:
        pixels = _read_scans(data, factor, "RGB")
    except ValueError:
        return None
    return pixels if _find_end(data) is not None and _find_fault(data) is None else None


def _read_jpeg_warnings(data):
    try:
        _read_scans(data)
    except ValueError as error:
        warning = str(error).strip()
        words = warning.lower()
        if any(kind in words for kind in BROKEN):
            return f"the scan is broken: {warning}", None
        if not any(kind in words for kind in NO_WARNINGS):
            return None, warning
        return None, None
    return _find_fault(data), None


def _find_fault(data):
    """Return what is broken in a JPEG that libjpeg reads without a warning, None for nothing."""
    if _lacks_a_scan(data):
        return "the scan is broken: one of a progressive JPEG's scans is missing"
    if _has_zeros(data):
        return "the scan is broken: a part of it is zeros"
    if _has_surplus(data):
        return "the scan is broken: it goes on after the last row"
    return None


def _read_scans(data, factor=8, wanted="GRAY"):
    """Return the pixels, or raise ValueError with the first warning of libjpeg. Every bit is read for the smallest picture too."""
    space = simplejpeg.decode_jpeg_header(data)[2]
    return simplejpeg.decode_jpeg(data, "CMYK" if space in ("CMYK", "YCCK") else wanted, min_factor=factor)


def _has_surplus(data):
    """Whether the last scan holds more than its rows need, which libjpeg does not read: a good one lacks its last byte."""
    end = _find_end(data)
    if end is None:
        return False
    last = end - 2 if data[end - 2 : end] == b"\xff\x00" else end - 1
    try:
        _read_scans(data[:last] + b"\xff\xd9")
    except ValueError:
        return False
    return True


def _find_end(data):
    """Return the place of the end of image, 0xFFD9, None where it is missing."""
    return next((place for code, place, _ in _segments(data) if code == END), None)


def _lacks_a_scan(data):
    """Whether a progressive JPEG ends before every coefficient is there to its last bit (ITU T.81, annex G)."""
    lacking: dict[int, set[int]] = {}
    for code, _, content in _segments(data):
        if code == 0xC2:
            lacking = {content[6 + 3 * number]: set(range(64)) for number in range(content[5])}
        elif code == 0xDA and lacking:
            count = content[0]
            first, last, low = content[1 + 2 * count], content[2 + 2 * count], content[3 + 2 * count] & 15
            for number in range(count):
                if low == 0 and (one := lacking.get(content[1 + 2 * number])) is not None:
                    one -= set(range(first, last + 1))
    return any(lacking.values())


def _has_zeros(data):
    """Whether the scan of a JPEG that is not progressive holds more bytes of zero in a row than an encoder writes.

    Bits of zero are the first code of a table. Where that is no end of a block, they are coefficients without end; flat
    parts of an image can be zeros only where it is one, in all tables that the scan mixes (ITU T.81, annex C).
    """
    firsts = {}
    for code, position, content in _segments(data):
        if code == 0xC2:
            return False
        if code == 0xC4:
            while len(content) > 17:
                firsts[content[0]] = content[17]
                content = content[17 + sum(content[1:17]) :]
        if code == 0xDA:
            ends_no_block = [symbol & 15 > 0 for table, symbol in firsts.items() if table >> 4]
            return any(ends_no_block) and data.find(ZEROS, position, _find_end(data) or len(data)) >= 0
    return False


def _segments(data):
    """Yield marker, its place and content of each segment of a JPEG, the last the end of image (ITU T.81, annex B)."""
    position = 2
    while marker := JPEG_MARKER.search(data, position):
        code, size = marker[0][1], int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        yield code, marker.start(), data[marker.end() + 2 : marker.end() + size]
        if code == END:
            return
        position = marker.end() + size


def _find_missing_rows(path):
    """Return how much of a PNG's rows is missing, None for nothing: a decoder leaves them black, its checksums right."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position, inflate, found, wanted = 8, zlib.decompressobj(), 0, None
        while position + 8 <= len(data):
            size, kind = struct.unpack(">I4s", data[position : position + 8])
            content = position + 8
            if kind == b"IHDR":
                width, height, bits, colour, _, _, interlaced = struct.unpack(
                    ">IIBBBBB", data[content : content + 13]
                )
                passes = PNG_PASSES if interlaced else ((0, 0, 1, 1),)
                wanted = sum(
                    _png_bytes(width, height, bits * PNG_CHANNELS.get(colour, 1), *one) for one in passes
                )
            elif kind == b"IDAT":
                rest = data[content : content + size]
                while rest and not inflate.eof:  # in pieces: a bomb must not be unpacked at once
                    found += len(inflate.decompress(rest, 1 << 20))
                    rest = inflate.unconsumed_tail
            elif kind == b"IEND":
                break
            position = content + size + 4
    if wanted is None or found >= wanted:
        return None
    return f"the rows end early: {found:,} of {wanted:,} bytes"


def _png_bytes(width, height, bits, column, row, column_step, row_step):
    """Return the bytes of a pass of a PNG: each row is its pixels and a byte for its filter (PNG, section 7)."""
    columns = -(-(width - column) // column_step)
    rows = -(-(height - row) // row_step)
    return rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0


def look_at(path: str, pixels: np.ndarray) -> str | None:
    """Return why people should look at an image that no decoder complains of, None for no reason.

    pixels: (height, width, 3) uint8, as it was decoded.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if high - low < CONTRAST:
        return f"next to no contrast: all values are from {low} to {high}"
    with open(path, "rb") as file:
        start = file.read(12)
    if any(start[place : place + len(mark)] == mark for place, mark in WITHOUT_CHECKSUM) and has_flat_end(
        pixels
    ):
        return "its lower end is one colour, and its format has no checksum that would show a loss"
    return None


def has_flat_end(pixels: np.ndarray) -> bool:
    """Whether the last rows of an image, (height, width, 3), over FLAT of its height are one colour, and others are not."""
    end = pixels[-max(2, round(FLAT * len(pixels))) :]
    return bool((end == end[-1, -1]).all() and not (pixels == end[-1, -1]).all())


def reaches_its_end(path, file_format):
    """Whether the file's own end mark is there: decoders forgive a missing last piece, pixels or not."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if file_format in ("JPEG", "MPO"):
            return _find_end(data) is not None
        if file_format == "PNG":
            return data.rfind(b"IEND\xaeB`\x82") > 0
        if file_format == "GIF":
            return _gif_reaches_its_end(data)
        if file_format == "WEBP":
            return int.from_bytes(data[4:8], "little") <= len(data) - 8
        if file_format in ("AVIF", "HEIF"):
            return _boxes_reach_their_end(data)
        if file_format == "JPEG2000":
            return data.rfind(b"\xff\xd9") > 0  # occurs nowhere else (ITU T.800, annex A)
        return True  # the pixels of the other formats are not compressed, or stand before the end


def _boxes_reach_their_end(data):
    """Walk from box to box (ISO 14496-12, 4.2): whether the last one is there to its end."""
    position = 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:  # to the end of the file
            return True
        if size < 8:  # no box: what somebody put behind the last one
            return position > 0
        position += size
    return position <= len(data)


def _gif_reaches_its_end(data):
    """Walk from block to block (GIF89a, appendix B) until the trailer, 0x3B."""

    def size_of_colours(flags):
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    position = 13 + size_of_colours(data[10])
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C and position + 9 < len(data):
            # An image: its place, its colours, the code size.
            position += 11 + size_of_colours(data[position + 9])
        elif data[position] == 0x21:  # extension: its kind
            position += 2
        else:  # decoders step over what stands between blocks
            position += 1
            continue
        while position < len(data) and data[position]:  # pieces, each after its length, until one of length 0
            position += data[position] + 1
        position += 1
    return position < len(data)
