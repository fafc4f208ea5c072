"""Draw the demo: handwritten digits as image files, three annotators' answers, a few damaged files.

The digits 1 to 9 of scikit-learn's `load_digits` (real scans, 8 x 8 pixels; Alpaydin & Kaynak 1998)
stand in for photographs, and "which digit is it" for the feeling that a photo gives: nine ordered,
unbalanced classes, as in the study that Baton began with.
"""

import csv
import random
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from baton import console
from baton.console import log

SIDE = 32  # pixels
# Share of each digit's images that the careful annotator rated: the middle of the scale is common.
RATED = {1: 0.42, 2: 0.5, 3: 0.65, 4: 0.85, 5: 1.0, 6: 0.85, 7: 0.65, 8: 0.5, 9: 0.42}
# How often an annotator names a wrong digit.
ERROR_RATES = {"careful": 0.0, "hasty": 0.2, "guessing": 0.6}
# Damaged files: digit, name, and what becomes of the bytes of a good one.
DAMAGED = [
    (3, "empty.jpg", lambda good: b""),
    (4, "cut in half.jpg", lambda good: good[: len(good) // 2]),
    (5, "last bytes missing.jpg", lambda good: good[:-2]),
    (6, "a web page.jpg", lambda good: b"<!DOCTYPE html><title>404 Not Found</title>"),
    (7, "no header.jpg", lambda good: good[20:]),
]


def draw_images(folder):
    """Write every digit from 1 to 9 to `folder`; return (file name, digit) pairs."""
    scans, digits = load_digits(return_X_y=True)
    drawn = []
    for number, (scan, digit) in enumerate(zip(scans, digits, strict=True)):
        if digit == 0:
            continue
        grey = np.round(scan.reshape(8, 8) * 255 / 16).astype(np.uint8)
        image = Image.fromarray(255 - grey).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        name = f"scan {number:04}.jpg"
        image.convert("RGB").save(folder / name, quality=95)
        drawn.append((name, int(digit)))
    good = (folder / drawn[0][0]).read_bytes()
    for _, name, damage in DAMAGED:
        (folder / name).write_bytes(damage(good))
    return drawn + [(name, digit) for digit, name, _ in DAMAGED]


def annotate(drawn, draw):
    """Return the rows of the annotations: image, annotator, question, answer."""
    damaged = {name for _, name, _ in DAMAGED}
    rows = []
    for name, digit in drawn:
        for annotator, error_rate in ERROR_RATES.items():
            if draw.random() > RATED[digit] and name not in damaged:
                continue
            others = [other for other in RATED if other != digit]
            answer = draw.choice(others) if draw.random() < error_rate else digit
            rows.append([name, annotator, "digit", answer])
            rows.append([name, annotator, "legibility", draw.randint(1, 5)])
    return rows


def main(images, annotations):
    """Write the demo's images to the folder `images` and its CSV to `annotations`."""
    folder = Path(images)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw_images(folder)
    rows = annotate(drawn, random.Random(1))
    with open(annotations, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "annotator", "question", "answer"])
        writer.writerows(rows)
    log.info("%d images (%d of them damaged) and %d answers", len(drawn), len(DAMAGED), len(rows))


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(snakemake.output.images, snakemake.output.annotations)
