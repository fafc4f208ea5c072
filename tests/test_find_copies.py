"""find_copies: planted copies are found, unlike images are not, and what is kept together are whole groups."""

import csv
import json
import os
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import scipy.fft
from conftest import REPOSITORY
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

import find_copies
from baton.data.thumbnails import SIDE, make_colours, make_thumbnail
from copies.candidates import INVERSE, ORIENTATIONS, find_candidates, hash_frequencies, transform, turn
from copies.chains import group_images, split_chains
from copies.registration import compare_all, cut, cut_edges, describe

SHARED = REPOSITORY.parent / "shared/data"


def scene(seed, size=(320, 240)):
    """A picture that no other seed gives: blobs of light and dark, large and small, as photos have them."""
    random, height, width = np.random.default_rng(seed), size[1], size[0]
    y, x = np.mgrid[:height, :width] / height
    pixels = np.zeros((height, width))
    for width_of_blob in (0.5, 0.25, 0.12, 0.06, 0.03):
        for _ in range(12):
            cy, cx = random.uniform(0, 1), random.uniform(0, width / height)
            pixels += random.normal() * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / width_of_blob**2)
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    return Image.fromarray(np.rint(40 + 170 * pixels).astype(np.uint8)).convert("RGB")


def crop(image, share):
    width, height = image.size
    return image.crop((share * width, share * height, (1 - share) * width, (1 - share) * height))


def encoded(image, quality, tmp_path):
    image.save(tmp_path / "encoded.jpg", quality=quality)
    return Image.open(tmp_path / "encoded.jpg").convert("RGB")


CHANGES = {
    "resized": lambda image, _: image.resize((71, 53)),
    "quality 50": lambda image, folder: encoded(image, 50, folder),
    "quality 20": lambda image, folder: encoded(image, 20, folder),
    "grey": lambda image, _: image.convert("L"),
    "brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.2),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "upside down": lambda image, _: ImageOps.flip(image),
    "a quarter turn": lambda image, _: image.transpose(Image.Transpose.ROTATE_90),
    "three quarter turns": lambda image, _: image.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda image, _: image.transpose(Image.Transpose.TRANSPOSE),
    "cropped by 2.5 % of each side": lambda image, _: crop(image, 0.025),
    "cropped by 5 % of each side": lambda image, _: crop(image, 0.05),
    "mirrored, smaller and encoded anew": lambda image, folder: encoded(
        ImageOps.mirror(image).resize((80, 60)), 50, folder
    ),
}
SCENES = [scene(seed) for seed in range(25)]


@pytest.mark.parametrize("change", CHANGES)
def test_planted_copies_are_found_and_no_others(change, tmp_path):
    changed = [CHANGES[change](image, tmp_path) for image in SCENES]
    thumbnails = np.stack([make_thumbnail(image) for image in SCENES + changed])
    frame, least = find_copies.find_pairs(thumbnails, 2)
    copies = frame[frame["kind"] == "copy"]
    assert least == find_copies.COPY
    pairs = set(zip(copies["one"], copies["other"], strict=True))
    planted = {(number, number + len(SCENES)) for number in range(len(SCENES))}
    assert pairs <= planted
    assert len(pairs) >= (0.95 if "cropped" in change else 1) * len(planted)


def test_hashes_are_those_of_the_turned_pictures():
    thumbnails = np.stack([make_thumbnail(image) for image in SCENES])
    hashes = hash_frequencies(transform(thumbnails))
    for orientation in range(ORIENTATIONS):
        turned = turn(thumbnails, orientation)
        # But for a frequency that is exactly 0, which has no sign.
        assert (np.bitwise_count(hash_frequencies(transform(turned))[0] ^ hashes[orientation]) <= 1).all()
        assert (turn(turned, INVERSE[orientation]) == thumbnails).all()


@pytest.mark.parametrize("most_apart", [12, 3, 2])
@pytest.mark.parametrize("many", [10**6, 1])
def test_all_near_pairs_are_found_whatever_the_threads(many, most_apart, monkeypatch):
    """By their parts and without, against every pair's distance, computed one by one."""
    monkeypatch.setattr("copies.candidates.MANY", many)
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**63, (ORIENTATIONS, 150), dtype=np.uint64)
    cut = random.integers(0, 2**63, 150, dtype=np.uint64)
    for image in range(50, 150):  # each near an earlier one: up to 14 signs differ
        flips = np.bitwise_or.reduce(np.uint64(1) << random.integers(0, 63, image % 15, dtype=np.uint64))
        hashes[image % 8, image] = hashes[0, image - 50] ^ flips
        cut[image - 50] = hashes[image % 2, image] ^ flips
    expected = [
        (i, j, turned)
        for i in range(150)
        for j in range(i + 1, 150)
        for turned in range(ORIENTATIONS)
        if int(hashes[0, i] ^ hashes[turned, j]).bit_count() <= most_apart
    ] + [
        (min(i, j), max(i, j), turned)
        for i in range(150)
        for j in range(150)
        for turned in (0, 1)
        if i != j and int(cut[i] ^ hashes[turned, j]).bit_count() <= most_apart
    ]
    for threads in (1, 2):
        found = find_candidates(hashes, cut, most_apart, len(expected), threads)
        assert [tuple(pair) for pair in found.tolist()] == sorted(set(expected)) and len(expected) > 20
    assert find_candidates(hashes, cut, most_apart, len(expected) - 1, 2) is None


def test_a_cut_is_the_linear_one():
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE))
    (found,) = cut(image, np.array([[4, 0, 4, 0]])) / 256
    at = 1 + (np.arange(SIDE) + 0.5) * 30 / 32 - 0.5  # a 32nd off at the left and at the right
    expected = [np.interp(at, np.arange(SIDE), row) for row in image[0]]
    np.testing.assert_allclose(found, expected, atol=0.6)
    assert (cut(image, np.zeros((1, 4), int)) == image * 256).all()
    assert cut_edges(image.astype(np.uint8)).shape == (1, SIDE, SIDE)


@pytest.mark.parametrize("contrast", [0.1, 1])
def test_the_lowest_frequencies_are_those_of_scipy_in_soft_images_too(contrast):
    thumbnails = np.stack([make_thumbnail(image) for image in SCENES])
    thumbnails = np.rint(128 + contrast * (thumbnails - 128.0)).astype(np.uint8)
    assert (np.ptp(thumbnails, axis=(1, 2)) > 100).all() == (contrast == 1)
    for low, images in zip(describe(thumbnails).low, (thumbnails, cut_edges(thumbnails)), strict=True):
        for frequencies, image in zip(low, images, strict=True):
            expected = scipy.fft.dctn(image.astype(float))[:8, :8]
            assert np.corrcoef(frequencies.ravel()[1:], expected.ravel()[1:])[0, 1] > 0.999999


def test_flat_images_are_no_copies():
    flat = np.stack([np.full((SIDE, SIDE), value, np.uint8) for value in (0, 0, 7, 255)])
    frame, _ = find_copies.find_pairs(flat, 1)
    assert frame.empty


def test_no_images_and_no_candidates_are_no_pairs():
    for thumbnails in (np.empty((0, SIDE, SIDE), np.uint8), make_thumbnail(SCENES[0])[None]):
        frame, least = find_copies.find_pairs(thumbnails, 1)
        assert frame.empty and least == find_copies.COPY
    nothing = np.empty((0, SIDE, SIDE), np.uint8)
    pairs, match = compare_all(nothing, describe(nothing), np.empty((0, 3), int), 1)
    assert len(pairs) == len(match.whole) == 0


def test_among_handwritten_digits_only_the_same_are_copies():
    from sklearn.datasets import load_digits

    scans = load_digits().images[:1200]
    grey = [
        Image.fromarray(np.uint8(255 - scan * 255 / 16)).resize((32, 32), Image.Resampling.BICUBIC)
        for scan in scans
    ]
    thumbnails = np.stack([make_thumbnail(image) for image in grey])
    frame, least = find_copies.find_pairs(thumbnails, 2)
    assert least == find_copies.SAME and not (frame["kind"] == "copy").any()
    mirrored = np.concatenate([thumbnails, thumbnails[:50, :, ::-1]])
    frame, _ = find_copies.find_pairs(mirrored, 2)
    copies = frame[frame["kind"] == "copy"]
    pairs = set(zip(copies["one"], copies["other"], strict=True))
    assert {(n, n + len(scans)) for n in range(50)} <= pairs
    # Some digits are symmetric: the mirror image of one is then a copy of itself alone.
    assert all(other >= len(scans) for _, other in pairs)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real image sets are not here")
def test_no_photo_of_one_real_set_is_a_copy_of_one_of_another():
    paths, sets = [], []
    for name in ("ratings", "vegetables", "waste"):
        found = sorted(path for path in (SHARED / name).rglob("*") if path.suffix.lower() in (".jpg", ".png"))
        paths += found
        sets += [name] * len(found)
    thumbnails = np.stack([make_thumbnail(Image.open(path).convert("RGB")) for path in paths])
    frame, _ = find_copies.find_pairs(thumbnails, 2)
    pairs = frame[frame["kind"] == "copy"]
    assert len(pairs) > 20
    assert [
        (paths[a], paths[b]) for a, b in zip(pairs["one"], pairs["other"], strict=True) if sets[a] != sets[b]
    ] == []


def discs(count):
    """Discs on white, of any size, place and grey: unlike one another, and as alike as copies are."""
    random, made = np.random.default_rng(5), []
    for _ in range(count):
        image = Image.new("RGB", (200, 200), "white")
        x, y, radius = random.integers(70, 130, 2), random.integers(70, 130), random.integers(20, 60)
        ImageDraw.Draw(image).ellipse(
            (x[0] - radius, y - radius, x[0] + radius, y + radius), fill=(int(random.integers(20, 160)),) * 3
        )
        made.append(image)
    return made


def test_products_on_white_are_not_tied_together(tmp_path):
    pictures = {f"{number:02}.png": ("ab"[number % 2], disc) for number, disc in enumerate(discs(60))}
    found = Found(tmp_path, pictures)
    assert found.facts["least"] == find_copies.SAME
    sizes = pd.Series(found.groups).value_counts()
    assert sizes.max() <= 12 if len(sizes) else True


def test_what_differs_in_colour_is_no_copy_and_what_has_none_is(tmp_path):
    def tint(image, *factors):
        return Image.fromarray(np.rint(np.asarray(image) * np.array(factors)).astype(np.uint8))

    pictures = {}
    for number, image in enumerate(SCENES[:12]):
        pictures[f"{number} red.png"] = ("1", tint(image, 1, 0.4, 0.4))
        pictures[f"{number} blue.png"] = ("2", tint(image, 0.4, 0.4, 1))
        pictures[f"{number} mirrored.png"] = ("1", ImageOps.mirror(tint(image, 1, 0.4, 0.4)))
    pictures["0 grey.png"] = ("1", pictures["0 red.png"][1].convert("L").convert("RGB"))
    pairs = {row[:2] for row in Found(tmp_path, pictures).copies if row[2] == "copy"}
    assert {(f"{number} mirrored.png", f"{number} red.png") for number in range(12)} <= pairs
    assert ("0 grey.png", "0 red.png") in pairs
    assert not [pair for pair in pairs if "blue" in pair[0] + pair[1] and "grey" not in pair[0] + pair[1]]


class TestGroups:
    def test_groups_are_the_connected_ones(self):
        pairs = pd.DataFrame({"one": [0, 2, 5], "other": [1, 1, 6], "kind": "copy"})
        given = np.array(["", "", "", "x", "x", "", "x", ""])
        assert group_images(8, pairs, given).tolist() == [0, 0, 0, 3, 3, 3, 3, 7]

    def test_a_chain_of_alike_images_is_split_back_to_its_copies(self):
        alike = [(n, n + 1, "copy" if n in (10, 70) else "alike") for n in range(79)]
        short = [(n, n + 1, "alike") for n in range(90, 120)]
        pairs = pd.DataFrame(alike + short, columns=["one", "other", "kind"])
        kept, chains = split_chains(pairs, np.array(["a", "b"] * 200))
        assert chains == 1
        assert kept[["one", "other"]].to_numpy().tolist() == [[10, 11], [70, 71]] + [
            [n, n + 1] for n in range(90, 120)
        ]


class Found:
    """What main() makes of pictures, {name: (class, picture[, group])}."""

    def __init__(self, tmp_path, pictures, keep_together="copies", damaged=()):
        names = sorted(pictures)
        with_groups = any(len(entry) > 2 for entry in pictures.values())
        self.folder = tmp_path

        def write(name, header, rows):
            with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([header, *rows])
            return tmp_path / name

        header = ["image", "class"] + ["group"] * with_groups
        rows = [[name, pictures[name][0], *pictures[name][2:]] for name in names]
        digests = [hash(pictures[name][1].tobytes()) for name in names]
        inspected = [
            (name, digest, "broken" if name in damaged else "", "", *pictures[name][1].size)
            for name, digest in zip(names, digests, strict=True)
        ]
        thumbnails = np.stack([make_thumbnail(pictures[name][1]) for name in names])
        np.save(tmp_path / "thumbnails.npy", thumbnails)
        np.save(tmp_path / "colours.npy", np.stack([make_colours(pictures[name][1]) for name in names]))
        made = [tmp_path / name for name in ("copies.csv", "groups.csv", "copies.json")]
        find_copies.main(
            write("classes.csv", header, rows),
            write("inspected.csv", ("image", "sha256", "damage", "warning", "width", "height"), inspected),
            tmp_path / "thumbnails.npy",
            tmp_path / "colours.npy",
            *made,
            keep_together,
            None,
            2,
        )
        self.copies = [tuple(row.values()) for row in self.rows("copies.csv")]
        self.groups = {row["image"]: row["group"] for row in self.rows("groups.csv")}
        self.facts = json.loads(made[2].read_text())

    def rows(self, name):
        with open(self.folder / name, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


class TestMain:
    PICTURES = {
        "a.png": ("1", SCENES[0]),
        "b.png": ("1", ImageOps.mirror(SCENES[0])),
        "c.png": ("2", SCENES[0]),
        "d.png": ("2", SCENES[1]),
        "e.png": ("1", SCENES[2]),
    }

    def test_pairs_kinds_and_groups(self, tmp_path):
        found = Found(tmp_path, self.PICTURES)
        assert [row[:3] for row in found.copies] == [
            ("a.png", "b.png", "copy"),
            ("a.png", "c.png", "identical"),
            ("b.png", "c.png", "copy"),
        ]
        assert found.groups == dict.fromkeys(["a.png", "b.png", "c.png"], "a.png")
        assert found.facts["compared"] == 5

    def test_none_keeps_nothing_together_and_lists_them_all_the_same(self, tmp_path):
        found = Found(tmp_path, self.PICTURES, "none")
        assert len(found.copies) == 3 and found.groups == {}

    def test_damaged_images_are_no_copies(self, tmp_path):
        found = Found(tmp_path, self.PICTURES, damaged=["a.png"])
        assert [row[:3] for row in found.copies] == [("b.png", "c.png", "copy")]

    def test_given_groups_and_copies_are_one_where_they_share_an_image(self, tmp_path):
        groups = {"b.png": "p1", "d.png": "p1", "e.png": ""}
        pictures = {name: (*entry, groups.get(name, "")) for name, entry in self.PICTURES.items()}
        found = Found(tmp_path, pictures)
        assert found.groups == dict.fromkeys(["a.png", "b.png", "c.png", "d.png"], "a.png")

    def test_the_same_whatever_the_threads(self, tmp_path, monkeypatch):
        made = []
        for name in ("one", "two"):
            os.makedirs(tmp_path / name)
            made.append(Found(tmp_path / name, self.PICTURES).copies)
        assert made[0] == made[1] != list(chain())
