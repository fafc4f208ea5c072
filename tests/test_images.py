"""baton.data.images: every damaged file is found, every readable one comes out upright and in RGB."""

import errno
import hashlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from baton.data.images import (
    DamagedImage,
    decode_image,
    digest_file,
    list_files,
    map_images,
    name_files,
    real_files,
    walk,
)
from baton.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
SMOOTH = np.stack(
    np.broadcast_arrays(np.arange(0, 240, 15), np.arange(0, 180, 15)[:, None], 90), axis=-1
).astype(np.uint8)
WHITE = (255, 255, 255)


def encode(image, file_format, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decode(tmp_path, content, name="photo.jpg"):
    """Decode bytes as a file would be; return (height, width, 3) pixels."""
    path = tmp_path / name
    path.write_bytes(content)
    image = decode_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def damage(path):
    with pytest.raises(DamagedImage) as error:
        decode_image(path)
    return str(error.value)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, *chunks):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


# Damaged files

WHOLE = {
    "JPEG": encode(NOISE, "JPEG"),
    "progressive JPEG": encode(NOISE, "JPEG", progressive=True),
    "grey JPEG": encode(NOISE[..., 0], "JPEG"),
    "JPEG with restart marks": encode(NOISE, "JPEG", restart_marker_blocks=1),
    "flat JPEG": encode(np.full((24, 24, 3), 7, np.uint8), "JPEG"),
    "PNG": encode(NOISE, "PNG"),
    "flat PNG": encode(np.zeros((24, 24), np.uint8), "PNG"),
    "GIF": encode(NOISE, "GIF"),
    "animated GIF": encode(
        NOISE,
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(np.roll(NOISE, n, axis=0)) for n in (1, 2, 3)],
    ),
    "WebP": encode(NOISE, "WEBP"),
    "lossless WebP": encode(NOISE, "WEBP", lossless=True),
    "WebP with EXIF": encode(NOISE, "WEBP", exif=Image.Exif().tobytes() + bytes(50)),
    "BMP": encode(NOISE, "BMP"),
    "PPM": encode(NOISE, "PPM"),
    "TIFF": encode(NOISE, "TIFF"),
    "packed TIFF": encode(NOISE, "TIFF", compression="tiff_lzw"),
    "AVIF": encode(NOISE, "AVIF"),
    "JPEG 2000": encode(NOISE, "JPEG2000"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, of cut TIFF files
@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
def test_a_file_is_damaged_wherever_it_is_cut(tmp_path, content):
    decode(tmp_path, content)
    path = tmp_path / "cut.jpg"
    let_through = []
    for length in {*range(0, len(content), 7), *range(len(content) - 20, len(content))}:
        path.write_bytes(content[:length])
        try:
            decode_image(path)
            let_through.append(length - len(content))
        except DamagedImage:
            pass
    assert let_through == []


def test_a_gif_cut_after_a_byte_that_looks_like_its_end_is_damaged(tmp_path):
    content = WHOLE["animated GIF"]
    lookalikes = [at for at in range(len(content) // 2, len(content) - 1) if content[at] == ord(";")]
    assert lookalikes
    for at in lookalikes:
        (tmp_path / "x.gif").write_bytes(content[: at + 1])
        damage(tmp_path / "x.gif")


def gif_by_hand(comment=b"", global_colours=True, trailing=b""):
    """Return a GIF89a of 2 x 2 pixels in two frames, each with local colours, written out block by block."""
    colours = bytes([255, 0, 0, 0, 255, 0])  # red and green
    screen = struct.pack("<HHBBB", 2, 2, 0x80 if global_colours else 0, 0, 0)
    out = b"GIF89a" + screen + (colours if global_colours else b"")
    if comment:
        out += b"\x21\xfe" + bytes([len(comment)]) + comment + b"\0"
    # LZW of the pixels 0, 1, 1, 0 with codes of 3 bits: clear, 0, 1, clear (codes stay short), 1, 0, end.
    codes, bits = [4, 0, 1, 4, 1, 0, 5], 0
    for place, code in enumerate(codes):
        bits |= code << 3 * place
    data = bits.to_bytes(3, "little")
    for local in (bytes([0, 0, 255, 255, 255, 0]), bytes([9, 9, 9, 59, 59, 59])):  # 59 is ";"
        out += b"\x2c" + struct.pack("<HHHHB", 0, 0, 2, 2, 0x80) + local
        out += b"\x02" + bytes([len(data)]) + data + b"\0"
    return out + trailing + b";"


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"comment": b"a comment; with the byte that ends a GIF;"},
        {"global_colours": False},
        {"comment": b"\x2c\x21;", "global_colours": False},
        {"trailing": b"\0\0"},  # between blocks, which decoders step over
    ],
    ids=str,
)
def test_a_gif_with_colours_of_its_frames_and_semicolons_is_whole_and_cut_is_damaged(tmp_path, how):
    content = gif_by_hand(**how)
    blue, yellow = (0, 0, 255), (255, 255, 0)
    assert decode(tmp_path, content, "x.gif").tolist() == [
        [list(blue), list(yellow)],
        [list(yellow), list(blue)],
    ]
    for length in range(len(content)):
        (tmp_path / "x.gif").write_bytes(content[:length])
        damage(tmp_path / "x.gif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_download_whose_last_third_is_zeros_is_damaged(tmp_path, kind):
    content = WHOLE[kind]
    kept = 2 * len(content) // 3
    (tmp_path / "x").write_bytes(content[:kept] + bytes(len(content) - kept))
    assert damage(tmp_path / "x")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><title>404 Not Found</title>", "not an image in a known format"),
        (WHOLE["JPEG"][20:], "not an image in a known format"),
        (WHOLE["PNG"][8:], "not an image in a known format"),
        (b"\0" * 1000, "not an image in a known format"),
        (b"\xff\xd8\xff", "not an image in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a known format"),
        (WHOLE["JPEG"][:-2] + bytes(1000), "the end of the JPEG file is missing"),
        (
            png(60000, 60000, chunk(b"IDAT", zlib.compress(bytes(100)))),
            "60,000 x 60,000 pixels: more than images.megapixels, 250",
        ),
    ],
    ids=["empty", "web page", "JPEG no header", "PNG no header", "zeros", "stub", "EPS", "no end", "bomb"],
)
def test_the_reason_is_told(tmp_path, content, reason):
    (tmp_path / "x.jpg").write_bytes(content)
    assert reason in damage(tmp_path / "x.jpg")


def test_what_is_not_a_file_is_told_and_not_waited_for(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    assert damage(tmp_path / "folder.jpg") == "a folder, not a file"
    assert damage(tmp_path / "pipe.jpg") == "not a regular file"
    assert "No such file" in damage(tmp_path / "dangling.jpg")


@pytest.mark.parametrize("content", [WHOLE["PNG"][:300], b""], ids=["cut", "empty"])
def test_the_reason_does_not_repeat_the_path(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    assert str(tmp_path) not in damage(tmp_path / "x.jpg")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE])
def test_a_failing_drive_is_no_damage_of_the_image(tmp_path, monkeypatch, number):
    (tmp_path / "x.jpg").write_bytes(WHOLE["JPEG"])

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        decode_image(tmp_path / "x.jpg")


# Readable files


@pytest.mark.parametrize("kind", ["PNG", "lossless WebP", "BMP", "PPM", "TIFF", "packed TIFF"])
def test_a_lossless_file_named_jpg_gives_its_very_pixels(tmp_path, kind):
    assert np.array_equal(decode(tmp_path, WHOLE[kind], "x.jpg"), NOISE)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF", "AVIF", "JPEG2000"])
def test_a_lossy_file_named_jpg_gives_nearly_its_pixels(tmp_path, file_format):
    pixels = decode(tmp_path, encode(SMOOTH, file_format), "x.jpg")
    assert pixels.shape == (12, 16, 3)
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 6


def test_cmyk_is_turned_into_rgb(tmp_path):
    for ink, colour in [
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ]:
        pixels = decode(tmp_path, encode(Image.new("CMYK", (8, 8), ink), "JPEG"))
        assert np.abs(pixels.astype(int) - colour).max() <= 3


def test_grey_gives_three_equal_channels(tmp_path):
    pixels = decode(tmp_path, encode(NOISE[..., 0], "PNG"))
    assert np.array_equal(pixels, np.repeat(NOISE[..., :1], 3, axis=-1))


def test_black_and_white_is_0_and_255(tmp_path):
    pixels = decode(tmp_path, encode(Image.fromarray(NOISE[..., 0] > 127), "PNG"))
    assert np.array_equal(pixels[..., 0], np.where(NOISE[..., 0] > 127, 255, 0))


GREY_16 = np.array([[0, 255, 256, 0x1234], [0x7FFF, 0x8000, 0xFF00, 0xFFFF]], np.uint16)


@pytest.mark.parametrize(
    "content",
    [encode(GREY_16, "PNG"), encode(GREY_16, "TIFF"), b"P5 4 2 65535\n" + GREY_16.astype(">u2").tobytes()],
    ids=["PNG", "TIFF", "PGM"],
)
def test_16_bit_grey_keeps_its_high_byte(tmp_path, content):
    assert decode(tmp_path, content)[..., 1].tolist() == [[0, 0, 1, 0x12], [0x7F, 0x80, 0xFF, 0xFF]]


def test_palette_colours_are_looked_up(tmp_path):
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 0, 7, 8, 9])
    image.putdata([1, 0, 2])
    assert decode(tmp_path, encode(image, "PNG")).tolist() == [[[200, 100, 0], [10, 20, 30], [7, 8, 9]]]


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(tmp_path, file_format):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    assert decode(tmp_path, encode(image, file_format, transparency=0)).tolist() == [
        [list(WHITE), [200, 100, 0]]
    ]


def test_alpha_is_laid_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51], [0, 100, 200, 204]]], np.uint8)
    # 51 is a fifth of 255: 255 * 4/5; then 4/5 of the colour and a fifth of white
    assert decode(tmp_path, encode(pixels, "PNG")).tolist() == [
        [[255] * 3, [255, 0, 0], [204] * 3, [51, 131, 211]]
    ]


def test_grey_with_alpha_is_laid_on_white(tmp_path):
    image = Image.fromarray(np.array([[[0, 0], [0, 255], [100, 204]]], np.uint8), "LA")
    assert decode(tmp_path, encode(image, "PNG"))[0, :, 0].tolist() == [255, 0, 131]


# What undoes each turn: the stored pixels, from the upright ones (EXIF 2.3, tag 0x0112).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif.tobytes()


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("file_format, options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_exif_turned_images_come_out_upright(tmp_path, number, file_format, options):
    stored = np.ascontiguousarray(STORED[number](NOISE))
    assert np.array_equal(
        decode(tmp_path, encode(stored, file_format, exif=orientation(number), **options)), NOISE
    )


def test_an_exif_turned_jpeg_comes_out_upright(tmp_path):
    stored = np.ascontiguousarray(np.rot90(SMOOTH, 1))
    pixels = decode(tmp_path, encode(stored, "JPEG", quality=95, subsampling=0, exif=orientation(6)))
    assert pixels.shape == SMOOTH.shape
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 3


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_unreadable_exif_leaves_the_image_as_it_is(tmp_path, file_format):
    pixels = decode(tmp_path, encode(SMOOTH, file_format, exif=b"Exif\0\0no TIFF header here"))
    assert pixels.shape == SMOOTH.shape
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 6


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path):
    whole = decode(tmp_path, WHOLE["JPEG"])
    for rest in (b"\0", b"\n", b"<!-- comment -->", bytes(5000), WHOLE["JPEG"][:100]):
        assert np.array_equal(decode(tmp_path, WHOLE["JPEG"] + rest), whole)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WebP"])
def test_other_files_with_bytes_after_their_end_are_whole(tmp_path, kind):
    assert np.array_equal(decode(tmp_path, WHOLE[kind] + b"more\n"), decode(tmp_path, WHOLE[kind]))


def test_the_end_of_a_jpegs_exif_thumbnail_is_not_taken_for_its_own(tmp_path):
    thumbnail = encode(SMOOTH[:8, :8], "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    content = encode(SMOOTH, "JPEG", exif=exif)
    assert content.count(b"\xff\xd9") == 2
    assert decode(tmp_path, content).shape == (12, 16, 3)
    (tmp_path / "cut.jpg").write_bytes(content[:-2] + bytes(1000))
    assert damage(tmp_path / "cut.jpg") == "the end of the JPEG file is missing"


# Finding, digesting, mapping


def test_list_files_goes_down_and_sorts(tmp_path):
    for name in ("b.txt", "a/2.jpg", "a/10.jpg", "a/deep/1.jpg", "a b/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.JPG" / "in it").mkdir(parents=True)
    (tmp_path / "folder.JPG" / "1.jpg").write_bytes(b"")
    assert list_files(tmp_path) == ["a b/1.jpg", "a/10.jpg", "a/2.jpg", "a/deep/1.jpg", "b.txt", "folder.JPG"]


def test_list_files_follows_links_and_ends_where_they_lead_back(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").write_bytes(b"")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "images")
    assert "linked/1.jpg" in list_files(tmp_path / "images")
    assert len(list_files(tmp_path / "images")) < 5


def test_list_files_enters_folders_once_that_link_to_one_another(tmp_path):
    names = [f"folder{number}" for number in range(7)]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.jpg").touch()
        for other in names:
            if other != name:
                (tmp_path / name / f"to {other}").symlink_to(tmp_path / other)
    assert list_files(tmp_path) == [f"{name}/{name}.jpg" for name in names]


def test_list_files_takes_a_file_by_the_shortest_of_its_names_and_a_links_last(tmp_path):
    (tmp_path / "pool/deep/cats/more").mkdir(parents=True)
    (tmp_path / "pool/deep/cats/1.jpg").touch()
    (tmp_path / "pool/deep/cats/more/2.jpg").touch()
    (tmp_path / "cats").symlink_to(tmp_path / "pool/deep/cats")
    (tmp_path / "test").mkdir()
    (tmp_path / "test/2.jpg").touch()
    for link in ("a", "validation"):
        (tmp_path / link).symlink_to(tmp_path / "test")
    assert list_files(tmp_path) == ["cats/1.jpg", "cats/more/2.jpg", "test/2.jpg"]
    names = name_files(tmp_path)
    assert [path for path, best in names.items() if best == "test/2.jpg"] == [
        "a/2.jpg",
        "test/2.jpg",
        "validation/2.jpg",
    ]
    assert names["pool/deep/cats/more/2.jpg"] == "cats/more/2.jpg"


def test_walk_reads_all_below_a_link_by_the_links_name(tmp_path):
    # Whatever is read first: the pool is, and the link lies deeper.
    (tmp_path / "pool/cows/young").mkdir(parents=True)
    (tmp_path / "pool/cows/young/1.jpg").touch()
    (tmp_path / "train/cow").mkdir(parents=True)
    (tmp_path / "train/cow/more").symlink_to("../../pool/cows")
    assert [path for path, _ in walk(tmp_path)] == ["pool/cows/young/1.jpg", "train/cow/more/young/1.jpg"]


def test_walk_of_twenty_folders_that_link_to_one_another(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}/x.jpg").touch()
    for number in range(20):
        for other in range(20):
            (tmp_path / f"{number}/to {other}").symlink_to(tmp_path / f"{other}")
    assert len(list(walk(tmp_path))) == 20 * 20, (
        "every file by its own name and by one link of each other folder"
    )
    assert len(list_files(tmp_path)) == 20


def test_links_that_cannot_be_followed_are_listed_as_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/good.jpg").touch()
    targets = {"circle.png": "circle.png", "one.png": "two.png", "two.png": "one.png", "gone.png": "nothing"}
    targets |= {"long.png": "x" * 300, "through.png": "good.jpg/inside"}
    for name, target in targets.items():
        (tmp_path / "a" / name).symlink_to(target)
    assert list_files(tmp_path) == sorted(f"a/{name}" for name in [*targets, "good.jpg"])


def test_real_files_are_the_same_where_links_lead_to_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/1.jpg").touch()
    (tmp_path / "real/2.jpg").symlink_to("1.jpg")
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "other").mkdir()
    os.link(tmp_path / "real/1.jpg", tmp_path / "other/1.jpg")  # a name of its own, as a copy has
    found = list(
        real_files(tmp_path, ["real/1.jpg", "real/2.jpg", "linked/1.jpg", "linked/2.jpg", "other/1.jpg"])
    )
    assert found == [str(tmp_path / "real/1.jpg")] * 4 + [str(tmp_path / "other/1.jpg")]


def test_list_files_names_the_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot read the folder .*/gone: No such file or directory"):
        list_files(tmp_path / "gone")


def test_digest_file_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(WHOLE["JPEG"])
    assert digest_file(tmp_path / "x") == hashlib.sha256(WHOLE["JPEG"]).hexdigest()


@pytest.mark.parametrize("threads", [1, 4])
def test_map_images_keeps_the_order_over_several_batches(threads):
    assert list(map_images(lambda number: 2 * number, list(range(600)), threads)) == list(range(0, 1200, 2))
