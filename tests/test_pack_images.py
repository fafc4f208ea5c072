"""pack_images: arrays that are the resized images, in the manifest's order, and synthetic images."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pack_images
from baton.errors import UserError

SCRIPTS = Path(pack_images.__file__).parent
SPLITS = ("train", "validation", "test")
SIZE = 8
AUGMENTATION = {"flip": "horizontal", "rotation": 0.1, "zoom": 0, "brightness": 0, "contrast": 0}


def noise(seed, height=9, width=13):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write_study(folder, counts, classes):
    """Write images of (class, split): count, shuffled, with their manifest and class order."""
    rows = [
        (f"{split} {label} {n}.png", label, split, f"digest of {split} {label} {n}")
        for (label, split), count in counts.items()
        for n in range(count)
    ]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    (folder / "images").mkdir()
    for number, (image, *_) in enumerate(rows):
        noise(number).save(folder / "images" / image)
    with open(folder / "images.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("image", "class", "split", "sha256"), *rows])
    (folder / "weights.json").write_text(json.dumps({"classes": classes}))
    return rows


def arguments(folder, out, fraction=0, augmentation=None, seed=1):
    """The plain arguments of main(), as JSON could hold them."""
    out = folder / out
    out.mkdir()
    return {
        "manifest": str(folder / "images.csv"),
        "weights": str(folder / "weights.json"),
        "root": str(folder / "images"),
        "arrays": {split: str(out / f"{split}.npy") for split in SPLITS},
        "manifests": {split: str(out / f"{split}.csv") for split in SPLITS},
        "processes": 2,
        "size": SIZE,
        "synthetic_fraction": fraction,
        "augmentation": augmentation,
        "seed": seed,
    }


@pytest.mark.parametrize(
    ("count", "processes", "size", "lot"),
    [
        (1_000_000, 16, 32, 256),
        (1_000_000, 16, 150, 15),  # of 67,500 bytes: 1 MB
        (1_000_000, 16, 1000, 1),
        (1769, 2, 32, 110),
        (1769, 16, 32, 13),
        (5, 2, 32, 1),
    ],
)
def test_every_process_gets_several_lots(count, processes, size, lot):
    assert pack_images.lot_size(count, processes, size) == lot


def read_packed(folder, split):
    with open(folder / f"{split}.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    array = np.load(folder / f"{split}.npy", mmap_mode="r")
    assert array.dtype == np.uint8
    assert array.shape == (len(rows), SIZE, SIZE, 3)
    return rows, array


COUNTS = {
    ("10", "train"): 5,
    ("9", "train"): 3,
    ("10", "validation"): 2,
    ("9", "validation"): 1,
    ("9", "test"): 2,
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    rows = write_study(folder, COUNTS, ["9", "10"])
    pack_images.main(**arguments(folder, "out"))
    return folder, rows


@pytest.mark.parametrize("split", SPLITS)
def test_array_rows_are_the_resized_images_in_the_manifests_order(packed, split):
    folder, given = packed
    rows, array = read_packed(folder / "out", split)
    assert [row["image"] for row in rows] == [image for image, _, of, _ in given if of == split]
    for row, pixels in zip(rows, array, strict=True):
        with Image.open(folder / "images" / row["image"]) as image:
            assert np.array_equal(pixels, image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("split", SPLITS)
def test_manifest_has_index_digest_and_no_parent(packed, split):
    folder, given = packed
    rows, _ = read_packed(folder / "out", split)
    index = {"9": "0", "10": "1"}
    assert [tuple(row.values()) for row in rows] == [
        (image, label, index[label], digest, "") for image, label, of, digest in given if of == split
    ]


def test_an_image_is_stretched_upright_and_on_white(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: to be turned clockwise
    stored = np.zeros((4, 20, 4), np.uint8)
    stored[:, :10] = (255, 0, 0, 255)
    Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
    pixels = pack_images.decode_resized(tmp_path / "x.png", 8)
    assert pixels.shape == (8, 8, 3)
    assert (pixels[:3] == (255, 0, 0)).all()
    assert (pixels[-3:] == 255).all()


def test_an_image_that_vanished_since_it_was_checked_is_named_with_what_to_do(tmp_path):
    write_study(tmp_path, COUNTS, ["9", "10"])
    (gone,) = [path for path in (tmp_path / "images").rglob("*") if path.is_file()][3:4]
    gone.unlink()
    with pytest.raises(UserError) as refusal:
        pack_images.main(**arguments(tmp_path, "out"))
    said = str(refusal.value)
    assert said.startswith(f"{gone} could be read when the images were checked")
    assert said.endswith("snakemake --forcerun inspect_images")


def test_many_images_stay_in_order(tmp_path):
    count = 515
    write_study(tmp_path, {("a", "train"): 1, ("a", "validation"): 1, ("a", "test"): 1}, ["a"])
    (tmp_path / "images.csv").write_text(
        "image,class,split,sha256\n"
        + "".join(f"{n}.bmp,a,train,\n" for n in range(count))
        + "0.bmp,a,validation,\n1.bmp,a,test,\n"
    )
    for n in range(count):
        Image.new("RGB", (8, 8), (n % 256, n // 256, 0)).save(tmp_path / "images" / f"{n}.bmp")
    pack_images.main(**arguments(tmp_path, "out"))
    _, array = read_packed(tmp_path / "out", "train")
    assert (array[:, 4, 4, 0].astype(int) + 256 * array[:, 4, 4, 1].astype(int)).tolist() == list(
        range(count)
    )


def test_some_images_are_read_as_numpy_reads_them(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", array)
    assert np.array_equal(pack_images.read_images(tmp_path / "x.npy", [6, 0, 3], 8), array[[6, 0, 3]])


# Synthetic images


def labelled(**sizes):
    return pd.DataFrame({"label": [int(label[1:]) for label, size in sizes.items() for _ in range(size)]})


@pytest.mark.parametrize("fraction, counts", [(0.2, [2, 6]), (0.3, [3, 9]), (0.25, [2, 8]), (1, [10, 30])])
def test_choose_parents_takes_the_fraction_of_each_class_each_once(fraction, counts):
    frame = labelled(_0=10, _1=30)
    parents = pack_images.choose_parents(frame, fraction, seed=1)
    assert parents.index.is_unique
    assert [(parents["label"] == label).sum() for label in (0, 1)] == counts


def test_choose_parents_follows_the_seed():
    frame = labelled(_0=40, _1=40)
    chosen = [list(pack_images.choose_parents(frame, 0.2, seed).index) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


SYNTHETIC = {
    ("a", "train"): 10,
    ("b", "train"): 20,
    ("a", "validation"): 2,
    ("b", "validation"): 2,
    ("a", "test"): 2,
}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Packed four times, in a process of its own: TensorFlow may run here with more threads."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_study(folder, SYNTHETIC, ["b", "a"])
    settings = {"fraction": 0.2, "augmentation": AUGMENTATION}
    only_flip = {"fraction": 0.5, "augmentation": AUGMENTATION | {"rotation": 0}}
    both_flips = {
        "fraction": 1,
        "augmentation": only_flip["augmentation"] | {"flip": "horizontal_and_vertical"},
    }
    calls = [
        arguments(folder, "one", **settings, seed=1),
        arguments(folder, "again", **settings, seed=1),
        arguments(folder, "other", **settings, seed=2),
        arguments(folder, "only flip", **only_flip, seed=1),
        arguments(folder, "both flips", **both_flips, seed=1),
    ]
    code = "import json, sys, pack_images\nfor call in json.load(sys.stdin): pack_images.main(**call)"
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(calls), text=True, env=environment, check=True
    )
    return folder


def test_each_class_of_training_gets_its_share_of_synthetic_images(synthetic):
    rows, _ = read_packed(synthetic / "one", "train")
    assert len(rows) == 36
    assert Counter(row["class"] for row in rows[30:]) == {"a": 2, "b": 4}
    assert [bool(row["parent"]) for row in rows] == [False] * 30 + [True] * 6


def test_validation_and_test_get_none(synthetic):
    for split, count in (("validation", 4), ("test", 2)):
        rows, _ = read_packed(synthetic / "only flip", split)
        assert [row["parent"] for row in rows] == [""] * count


def test_a_synthetic_image_names_a_parent_of_its_class_and_training(synthetic):
    rows, _ = read_packed(synthetic / "one", "train")
    real = {row["image"]: (row["class"], row["label"]) for row in rows[:30]}
    new = rows[30:]
    assert [(row["class"], row["label"]) for row in new] == [real[row["parent"]] for row in new]
    assert len({row["parent"] for row in new}) == 6
    assert [row["image"] for row in new] == [f"synthetic {number}" for number in range(1, 7)]
    assert {row["sha256"] for row in new} == {""}


def test_a_synthetic_image_is_a_change_of_its_parent(synthetic):
    rows, array = read_packed(synthetic / "one", "train")
    place = {row["image"]: number for number, row in enumerate(rows)}
    for row, pixels in zip(rows[30:], array[30:], strict=True):
        parent = array[place[row["parent"]]].astype(int)
        assert not np.array_equal(pixels, parent)
        assert abs(pixels.mean() - parent.mean()) < 25


def test_no_synthetic_image_is_a_copy_of_its_parent_with_a_flip_alone(synthetic):
    rows, array = read_packed(synthetic / "only flip", "train")
    place = {row["image"]: number for number, row in enumerate(rows)}
    parents = [array[place[row["parent"]]] for row in rows[30:]]
    assert len(parents) == 15
    for pixels, parent in zip(array[30:], parents, strict=True):
        assert np.array_equal(pixels, parent[:, ::-1])


def test_both_flips_give_all_three_other_ways_round(synthetic):
    rows, array = read_packed(synthetic / "both flips", "train")
    place = {row["image"]: number for number, row in enumerate(rows)}
    found = Counter()
    for row, pixels in zip(rows[30:], array[30:], strict=True):
        parent = array[place[row["parent"]]]
        ways = {"mirrored": parent[:, ::-1], "upside down": parent[::-1], "turned": parent[::-1, ::-1]}
        (way,) = [name for name, expected in ways.items() if np.array_equal(pixels, expected)]
        found[way] += 1
    assert found.total() == 30 and min(found[way] for way in ("mirrored", "upside down", "turned")) >= 3


def test_the_real_images_are_the_same_with_and_without_synthetic_ones(synthetic):
    rows, array = read_packed(synthetic / "one", "train")
    for row, pixels in zip(rows[:30], array, strict=False):
        with Image.open(synthetic / "images" / row["image"]) as image:
            assert np.array_equal(pixels, image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def test_same_seed_same_bytes_other_seed_other_images(synthetic):
    files = [f"{split}.{kind}" for split in SPLITS for kind in ("npy", "csv")]
    one, again, other = (
        [(synthetic / out / file).read_bytes() for file in files] for out in ("one", "again", "other")
    )
    assert one == again
    assert one[0] != other[0]
    assert sorted(path.name for path in (synthetic / "one").iterdir()) == sorted(files)
