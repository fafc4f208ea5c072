"""Print how many planted copies are found, how long that takes, and how long the inspection of images.

    PYTHONPATH=scripts:tests python tests/benchmark_copies.py [FOLDER ...]

Photographs are those of the folders that are named, else drawn scenes.
"""

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import scipy.fft
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from test_find_copies import crop, encoded, scene

import find_copies
from baton.data.images import decode_image
from baton.data.processes import decoders
from baton.data.thumbnails import SIDE, make_thumbnail
from copies.candidates import FREQUENCIES
from inspect_images import AT_A_TIME, inspect_image

PLANTED, MANY = 300, (10_000, 100_000, 1_000_000)
DRAWN = 1000  # at a time: in float64 they take eight times the room


def with_text(image, _):
    image = image.copy()
    font = ImageFont.load_default(size=0.14 * image.height)
    ImageDraw.Draw(image).text((0.1 * image.width, 0.75 * image.height), "SAMPLE 2019", "white", font)
    return image


KINDS = {
    "half the size": lambda image, _: image.resize((image.width // 2, image.height // 2)),
    "JPEG quality 50": lambda image, folder: encoded(image, 50, folder),
    "JPEG quality 20": lambda image, folder: encoded(image, 20, folder),
    "grey": lambda image, _: image.convert("L"),
    "blurred (2 px)": lambda image, _: image.filter(ImageFilter.GaussianBlur(2)),
    "brighter by 30 %": lambda image, _: ImageEnhance.Brightness(image).enhance(1.3),
    "darker by 30 %": lambda image, _: ImageEnhance.Brightness(image).enhance(0.7),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "upside down": lambda image, _: ImageOps.flip(image),
    "a quarter turn": lambda image, _: image.transpose(Image.Transpose.ROTATE_90),
    "half a turn": lambda image, _: image.transpose(Image.Transpose.ROTATE_180),
    "cropped by 2.5 % of each side": lambda image, _: crop(image, 0.025),
    "cropped by 5 % of each side": lambda image, _: crop(image, 0.05),
    "cropped by 10 % of each side": lambda image, _: crop(image, 0.1),
    "cropped by 5 % of two sides": lambda image, _: image.crop(
        (0.05 * image.width, 0.05 * image.height, *image.size)
    ),
    "turned by 2 degrees": lambda image, _: image.rotate(2, Image.Resampling.BICUBIC),
    "a border of 4 %": lambda image, _: ImageOps.expand(image, round(0.04 * image.width), "white"),
    "a text over it": with_text,
}


def find(thumbnails):
    """Return {kind: set of pairs} and the seconds that it took."""
    begun = time.perf_counter()
    frame, _ = find_copies.find_pairs(thumbnails, 2)
    seconds = time.perf_counter() - begun
    pairs = {kind: set(zip(rows["one"], rows["other"], strict=True)) for kind, rows in frame.groupby("kind")}
    return pairs, seconds


def plant(images, folder):
    """Print, of each kind of change, the share of planted copies that are found, as copies and as copies or alike."""
    base = [make_thumbnail(image) for image in images]
    print(f"Of {len(images)} images, each changed in one way, are found")
    print("| change | as copies | as copies or alike |\n| --- | --- | --- |")
    means = []
    for name, change in KINDS.items():
        changed = [make_thumbnail(change(image, folder)) for image in images]
        pairs, _ = find(np.stack(base + changed))
        planted = {(number, number + len(images)) for number in range(len(images))}
        copies = len(planted & pairs.get("copy", set())) / len(images)
        both = len(planted & (pairs.get("copy", set()) | pairs.get("alike", set()))) / len(images)
        means.append((copies, both))
        print(f"| {name} | {copies:.3f} | {both:.3f} |")
    print(f"| all {len(KINDS)} | {np.mean(means, axis=0)[0]:.3f} | {np.mean(means, axis=0)[1]:.3f} |\n")


def draw_thumbnails(count):
    """Return thumbnails of random low frequencies, as unlike as can be; the last are the first ones mirrored, as copies."""
    random = np.random.default_rng(1)
    many = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, DRAWN):
        rows = many[start : start + DRAWN]
        frequencies = np.zeros(rows.shape)
        frequencies[:, :FREQUENCIES, :FREQUENCIES] = random.normal(size=(len(rows), FREQUENCIES, FREQUENCIES))
        rows[:] = np.clip(128 + 200 * scipy.fft.idctn(frequencies, axes=(1, 2), norm="ortho"), 0, 255)
    many[-PLANTED:] = many[:PLANTED, :, ::-1]
    return many


def decode(path):
    decode_image(path)  # its pixels are not handed to another process, nor are those of an inspection


def inspect(paths):
    """Print how long inspection takes against decoding alone, in pairs."""
    ratios, functions = [], [decode, partial(inspect_image, megapixels=250)]
    for turn in range(3):
        times = {}
        for place in (0, 1) if turn % 2 else (1, 0):
            with decoders(functions[place], os.cpu_count()) as run:
                begun = time.perf_counter()
                for _ in run(paths, AT_A_TIME):
                    pass
                times[place] = time.perf_counter() - begun
        ratios.append(times[1] / times[0])
    print(
        f"Inspecting {len(paths)} files takes {min(ratios):.2f} to {max(ratios):.2f} times as long as decoding them\n"
    )


def main(folders):
    paths = [
        str(path)
        for folder in folders
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]
    chosen = np.random.default_rng(1).permutation(paths)[:PLANTED]
    with tempfile.TemporaryDirectory() as folder:
        plant(
            [decode_image(path) for path in chosen] or [scene(seed) for seed in range(PLANTED)], Path(folder)
        )
    if paths:
        inspect(paths)
    for count in MANY:
        pairs, seconds = find(draw_thumbnails(count))
        planted = {(number, count - PLANTED + number) for number in range(PLANTED)}
        found = len(planted & pairs.get("copy", set())) / PLANTED
        print(
            f"Among {count:,} unlike images copies are found in {seconds:.0f} s on 2 threads: "
            f"{found:.3f} of the planted ones"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
