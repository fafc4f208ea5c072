"""inspect_images: what is said of each image, in one decode, and that the quick way for JPEGs says what the full one would."""

import contextlib
import csv
import io
import os
import random

import numpy as np
import pytest
from PIL import Image
from test_find_copies import SCENES

import inspect_images
from baton.data import damage
from baton.data.images import DamagedImage, digest_file, open_image
from baton.data.thumbnails import SIDE, make_thumbnail
from copies.registration import correlate


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def in_full(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(inspect_images, "inspect_jpeg", lambda *_: None)
        return inspect_images.inspect_image(path, 250)


GOOD = {
    "photo": jpeg(SCENES[0], quality=90),
    "progressive": jpeg(SCENES[1], progressive=True),
    "grey": jpeg(SCENES[2].convert("L")),
    "small": jpeg(SCENES[3].resize((70, 90))),
    "tiny": jpeg(SCENES[4].resize((20, 10))),
    "no subsampling": jpeg(SCENES[5], subsampling=0),
    "restarts": jpeg(SCENES[6], restart_marker_rows=1),
}


@pytest.mark.parametrize("name", GOOD)
def test_the_quick_way_says_the_same(tmp_path, monkeypatch, name):
    path = tmp_path / "x.jpg"
    path.write_bytes(GOOD[name])
    found, thumbnail, _ = inspect_images.inspect_jpeg(path, 250)
    expected, full, _ = in_full(path, monkeypatch)
    assert found == expected
    assert found.sha256 == digest_file(path)
    assert correlate(thumbnail[None].astype(int), full[None].astype(int))[0] > 0.998


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright(tmp_path, monkeypatch, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.jpg"
    path.write_bytes(jpeg(SCENES[0], exif=exif))
    found, thumbnail, _ = inspect_images.inspect_jpeg(path, 250)
    expected, full, _ = in_full(path, monkeypatch)
    assert found == expected
    assert correlate(thumbnail[None].astype(int), full[None].astype(int))[0] > 0.998


@pytest.mark.parametrize(
    "content",
    [
        jpeg(SCENES[0].convert("CMYK")),
        jpeg(Image.new("RGB", (99, 99), "grey")),
        jpeg(SCENES[0])[:-2],
        b"",
        b"\xff\xd8 no",
    ],
    ids=["CMYK", "no contrast", "no end", "empty", "no JPEG"],
)
def test_what_is_not_plain_is_decoded_in_full(tmp_path, content):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with contextlib.suppress(OSError):  # of Pillow: inspect_image takes the full way
        assert inspect_images.inspect_jpeg(path, 250) is None


def test_too_many_pixels_are_refused(tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(GOOD["photo"])
    found, thumbnail, _ = inspect_images.inspect_image(path, 0.05)
    assert "more than images.megapixels" in found.damage and not thumbnail.any()


def test_no_file_passes_quickly_that_the_full_way_finds_damaged(tmp_path):
    """Six hundred files spoilt in six ways: what passes is what Pillow decodes to its end, and its decoder does not warn of."""
    draw, path, passed = random.Random(1), tmp_path / "x.jpg", 0
    for number in range(600):
        content = bytearray(GOOD[draw.choice(list(GOOD))])
        place = draw.randrange(2, len(content))
        if number % 6 == 0:
            del content[place:]
        elif number % 6 == 1:
            del content[place : place + draw.randrange(1, 600)]
        elif number % 6 == 2:
            content[place] ^= 1 << draw.randrange(8)
        elif number % 6 == 3:
            content[place : place + 40] = draw.randbytes(40)
        elif number % 6 == 4:
            content[place:place] = content[place : place + 512]
        else:
            content[place : place + 300] = bytes(300)
        path.write_bytes(content)
        try:
            quickly = inspect_images.inspect_jpeg(path, 250)
        except Exception:
            continue
        if quickly is None:
            continue
        passed += 1
        image, _, _ = open_image(path)
        assert damage.read_warnings(str(path)) == (None, None)
        assert image.size == (quickly[0].width, quickly[0].height)
    assert passed > 20  # a bit of the pixels may be another one, in a stream that is as good as before


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    found = [
        inspect_images.inspect_image(tmp_path / f"{name}.jpg", 250)[0].damage
        for name in ("pipe", "endless", "folder")
    ]
    assert found == ["not a regular file", "not a regular file", "a folder, not a file"]


def test_a_row_of_each_image_and_its_thumbnail(tmp_path):
    (tmp_path / "images").mkdir()
    pictures = {"a.jpg": GOOD["photo"], "b, c.jpg": GOOD["grey"], "é.jpg": b"", "f.png": None}
    for name, content in pictures.items():
        if content is None:
            SCENES[7].save(tmp_path / "images" / name)
        else:
            (tmp_path / "images" / name).write_bytes(content)
    with open(tmp_path / "classes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [("image", "class"), *((name, "1") for name in sorted(pictures))]
        )
    made = [tmp_path / name for name in ("inspected.csv", "thumbnails.npy", "colours.npy", "grey.json")]
    inspect_images.main(tmp_path / "classes.csv", *made, tmp_path / "images", 2, 250)
    with open(made[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["format"], row["width"], row["height"], row["damage"]) for row in rows] == [
        ("a.jpg", "JPEG", "320", "240", ""),
        ("b, c.jpg", "JPEG", "320", "240", ""),
        ("f.png", "PNG", "320", "240", ""),
        ("é.jpg", "", "", "", "the file is empty"),
    ]
    thumbnails = np.load(made[1])
    assert thumbnails.shape == (4, SIDE, SIDE)
    assert (thumbnails[2] == make_thumbnail(SCENES[7])).all() and not thumbnails[3].any()
    with pytest.raises(DamagedImage):
        open_image(tmp_path / "images/é.jpg")
