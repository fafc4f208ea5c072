"""Damage that decoders forgive: broken scans of JPEGs, rows that a PNG lacks; and that odd but good files are no damage."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from baton.data import damage
from baton.data.images import DamagedImage, decode_image

SPOILT = 512  # bytes


def photo(seed, size=(320, 240), noise=12):
    """Return a picture with soft shapes and some noise, as a camera takes it."""
    draw = np.random.default_rng(seed)
    soft = Image.fromarray(draw.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(soft) + draw.normal(0, noise, (size[1], size[0], 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def as_jpeg(image, **how):
    content = io.BytesIO()
    image.save(content, "JPEG", **({"quality": 85} | how))
    return content.getvalue()


def is_found(path):
    """Whether an image is set aside: Pillow cannot read it, or its decoder says that something is broken or odd."""
    try:
        decode_image(path)
    except DamagedImage:
        return True
    return any(damage.read_warnings(str(path)))


KINDS = ("cut and closed", "zeros to the end", "zeros", "lost", "of random bytes", "all ones")


def spoil(content, kind, draw):
    """Return a JPEG of which a part of the scan is spoilt."""
    begin = content.index(b"\xff\xda") + 100
    place = int(draw.integers(begin, len(content) - SPOILT - 300))
    before, after = content[:place], content[place + SPOILT :]
    return {
        "cut and closed": before + b"\xff\xd9",
        "zeros to the end": before + bytes(len(content) - place - 2) + b"\xff\xd9",
        "zeros": before + bytes(SPOILT) + after,
        "lost": before + after,
        "of random bytes": before + draw.bytes(SPOILT) + after,
        "all ones": before + b"\xff" * SPOILT + after,
    }[kind]


class TestJpeg:
    def test_of_spoilt_scans_all_are_found(self, tmp_path):
        found = {}
        for kind in KINDS:
            found[kind] = 0
            for seed in range(40):
                path = tmp_path / f"{seed}.jpg"
                path.write_bytes(spoil(as_jpeg(photo(seed)), kind, np.random.default_rng([seed, 1])))
                found[kind] += is_found(path)
        assert found == dict.fromkeys(KINDS, 40)

    @pytest.mark.parametrize("kind", ["cut and closed", "zeros to the end"])
    def test_and_so_are_progressive_ones(self, tmp_path, kind):
        for seed in range(20):
            path = tmp_path / f"{seed}.jpg"
            path.write_bytes(
                spoil(as_jpeg(photo(seed), progressive=True), kind, np.random.default_rng([seed, 1]))
            )
            assert is_found(path), seed

    def test_a_progressive_one_without_its_last_scan_is_broken(self, tmp_path):
        content = as_jpeg(photo(1), progressive=True)
        last = content.rindex(b"\xff\xda")
        (tmp_path / "a.jpg").write_bytes(content[:last] + b"\xff\xd9")
        broken, _ = damage.read_warnings(str(tmp_path / "a.jpg"))
        assert broken == "the scan is broken: one of a progressive JPEG's scans is missing"

    def test_a_broken_scan_is_damage_and_bytes_between_markers_are_a_warning(self, tmp_path):
        content = as_jpeg(photo(1))
        (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2] + b"\xff\xd9")
        assert damage.read_warnings(str(tmp_path / "a.jpg")) == (
            "the scan is broken: Corrupt JPEG data: premature end of data segment",
            None,
        )
        (tmp_path / "b.jpg").write_bytes(content[:20] + bytes(9) + content[20:])
        broken, warning = damage.read_warnings(str(tmp_path / "b.jpg"))
        assert broken is None and "extraneous bytes" in warning


def good_files():
    """Yield name and content of odd but good files."""
    image = photo(7, (97, 61))
    for name, how in {
        "plain": {},
        "progressive": {"progressive": True},
        "optimized": {"optimize": True},
        "restart markers": {"restart_marker_blocks": 1},
        "restart markers, progressive": {"restart_marker_rows": 1, "progressive": True},
        "4:4:4": {"subsampling": 0},
        "4:2:2": {"subsampling": 1},
        "quality 1": {"quality": 1},
        "quality 100": {"quality": 100},
        "comment": {"comment": b"\xff\xd9 as a letter"},
        "thumbnail in EXIF": {"exif": b"Exif\0\0" + as_jpeg(photo(3, (16, 12)))},
        "profile": {"icc_profile": bytes(3000)},
        "as RGB": {"keep_rgb": True},
        "of 300 dpi": {"dpi": (300, 300)},
    }.items():
        yield f"{name}.jpg", as_jpeg(image, **how)
    flat = Image.new("RGB", (3000, 2000), "navy")
    for name, how in {
        "": {},
        ", optimized": {"optimize": True},
        ", progressive": {"progressive": True},
    }.items():
        yield f"flat{name}.jpg", as_jpeg(flat, **how)
        yield f"flat, grey{name}.jpg", as_jpeg(flat.convert("L"), **how)
    yield "grey.jpg", as_jpeg(image.convert("L"))
    yield "grey, progressive.jpg", as_jpeg(image.convert("L"), progressive=True)
    yield "CMYK.jpg", as_jpeg(image.convert("CMYK"))
    yield "CMYK, 4:2:0.jpg", as_jpeg(image.convert("CMYK"), subsampling="4:2:0")
    for shade in (0, 255):
        page = Image.new("L", (1024, 1024), shade)
        page.paste(128, (300, 300, 700, 701))
        yield f"a square on {shade}.jpg", as_jpeg(page)
        yield f"a square on {shade}, progressive.jpg", as_jpeg(page, progressive=True)
        yield (
            f"a square on {shade}, in colour.jpg",
            as_jpeg(page.convert("RGB"), progressive=True, subsampling=0),
        )
    yield "CMYK, progressive.jpg", as_jpeg(image.convert("CMYK"), progressive=True)
    yield "1 x 1.jpg", as_jpeg(image.resize((1, 1)))
    yield "8 x 1.jpg", as_jpeg(image.resize((8, 1)))
    yield "trailing zeros.jpg", as_jpeg(image) + bytes(5000)
    yield "trailing text.jpg", as_jpeg(image) + b"<video>" * 99
    yield "two in one file.jpg", as_jpeg(image) + as_jpeg(photo(8))
    content = as_jpeg(image)
    yield "fill bytes.jpg", content[:2] + b"\xff\xff\xff" + content[2:]
    several = io.BytesIO()
    image.save(several, "MPO", save_all=True, append_images=[photo(9, (97, 61))])
    yield "MPO.jpg", several.getvalue()
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        content = io.BytesIO()
        (image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)).save(content, "PNG")
        yield f"{mode}.png", content.getvalue()
    yield "interlaced.png", as_png(7, 5, interlaced=True)
    yield "interlaced, 1 bit.png", as_png(13, 3, bits=1, interlaced=True)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def as_png(width, height, bits=8, interlaced=False, rows=None, parts=1):
    """Return a grey PNG, written by hand; rows: how many bytes of its rows are there, None for all; parts: of IDAT."""
    if interlaced:
        passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ]
    else:
        passes = [(0, 0, 1, 1)]
    data = b""
    for column, row, right, down in passes:
        columns, lines = len(range(column, width, right)), len(range(row, height, down))
        if columns:
            data += (b"\0" + b"\x55" * ((columns * bits + 7) // 8)) * lines
    packed = zlib.compress(data[:rows])
    size = -(-len(packed) // parts)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, int(interlaced))
    pieces = [chunk(b"IDAT", packed[start : start + size]) for start in range(0, len(packed), size)]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(pieces) + chunk(b"IEND", b"")


GOOD = dict(good_files())


@pytest.mark.parametrize("name", GOOD)
def test_odd_but_good_files_are_no_damage(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD[name])
    decode_image(tmp_path / name)
    assert damage.read_warnings(str(tmp_path / name)) == (None, None)


class TestPng:
    @pytest.mark.parametrize("interlaced", [False, True])
    @pytest.mark.parametrize("bits", [1, 8])
    @pytest.mark.parametrize("parts", [1, 3])
    def test_rows_that_are_missing_are_found(self, tmp_path, interlaced, bits, parts):
        path = tmp_path / "a.png"
        whole = as_png(40, 30, bits, interlaced, parts=parts)
        path.write_bytes(whole)
        assert damage.read_warnings(str(path)) == (None, None)
        path.write_bytes(as_png(40, 30, bits, interlaced, rows=100, parts=parts))
        broken, _ = damage.read_warnings(str(path))
        assert broken.startswith("the rows end early: 100 of ")

    def test_the_bytes_that_are_wanted_are_those_of_the_rows(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(as_png(64, 64, rows=32 * 65))
        assert damage.read_warnings(str(path))[0] == "the rows end early: 2,080 of 4,160 bytes"


class TestLookAt:
    def look(self, tmp_path, image, file_format, **how):
        path = tmp_path / "image"
        image.save(path, file_format, **how)
        return damage.look_at(str(path), np.asarray(decode_image(path)))

    def test_a_lower_end_of_one_colour_where_nothing_shows_a_loss(self, tmp_path):
        image = photo(1, (64, 100))
        cut = image.copy()
        cut.paste((128, 128, 128), (0, 90, 64, 100))
        assert self.look(tmp_path, image, "WEBP", lossless=True) is None
        assert "lower end is one colour" in self.look(tmp_path, cut, "WEBP", lossless=True)
        assert self.look(tmp_path, cut, "PNG") is None

    @pytest.mark.parametrize(
        "low, high, named", [(0, 0, True), (100, 107, True), (100, 108, False), (0, 255, False)]
    )
    def test_next_to_no_contrast(self, tmp_path, low, high, named):
        pixels = np.full((20, 20, 3), low, np.uint8)
        pixels[3, 4] = high
        said = self.look(tmp_path, Image.fromarray(pixels), "PNG")
        assert said == (f"next to no contrast: all values are from {low} to {high}" if named else None)
