"""Print the time and memory of each data stage, of a hundred thousand photos and a million small images, and of a tenth of each.

    PYTHONPATH=scripts:tests python tests/benchmark_stages.py [photos] [small]

The stages should be linear, and their memory flat. The tenth is timed before and after, since a machine has faster and slower
minutes; the links that two of the stages make, at the speed of the disk, are timed apart from the rest. The images are
names of a few thousand files, which the stages take for images of their own, and not for copies: finding these is
benchmark_copies.py's. Memory is that of the largest process of a stage. Three quarters of an hour, and 15 GB of disk in the
temporary folder.
"""

import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from own_process import read_output
from PIL import Image

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text())
CLASSES = 4
STAGES = (
    "sort_into_classes",
    "inspect_images",
    "split_holdout",
    "filter_corrupt",
    "weigh_classes",
    "pack_images",
)


def link_images(folder, size, distinct, count):
    """Make `count` names in class folders for `distinct` JPEGs of this (width, height)."""
    draw = np.random.default_rng(1)
    (folder / "files").mkdir(parents=True)
    for number in range(distinct):
        rough = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8))
        rough.resize(size, Image.Resampling.BICUBIC).save(folder / f"files/{number}.jpg", quality=90)
    for label in range(CLASSES):
        (folder / f"photos/{label}").mkdir(parents=True)
    for number in range(count):
        os.link(folder / f"files/{number % distinct}.jpg", folder / f"photos/{number % CLASSES}/{number}.jpg")


def call_stage(stage, folder, size):
    """Call a stage's program on the study in `folder`; print seconds, those of making links among them, and MB.

    No image is a copy of another, as it is said here.
    """
    made, root = folder / "made", folder / "photos"
    made.mkdir(exist_ok=True)

    def paths(*names):
        return [made / name for name in names]

    data = CONFIG["data"] | {"source": "class_folders", "images": str(root)}
    sizes = {"validation": 50, "test": 50, "seed": 1}
    inspected = paths("inspected.csv", "thumbnails.npy", "colours.npy", "grey.json")
    splits = ("train", "validation", "test")
    packed, manifests = ({split: made / f"{split}.{end}" for split in splits} for end in ("npy", "csv"))
    cores = os.cpu_count()
    arguments = {
        "sort_into_classes": [
            data,
            *paths("classes.csv", "left_out.csv", "notes.csv", "answers.csv", "classes", "none"),
        ],
        "inspect_images": [*paths("classes.csv"), *inspected, root, cores, 250],
        "split_holdout": [
            *paths("classes.csv", "inspected.csv", "groups.csv", "split.csv"),
            sizes,
            False,
            None,
            made / "none",
        ],
        "filter_corrupt": [
            *paths("split.csv", "inspected.csv", "grey.json", "copies.csv"),
            *paths("images.csv", "corrupt.csv", "look_at.csv", "dataset"),
            root,
            sizes,
            None,
        ],
        "weigh_classes": [*paths("images.csv", "grey.json", "weights.json"), []],
        "pack_images": [*paths("images.csv", "weights.json"), root, packed, manifests, cores, size, 0, {}, 1],
    }
    (made / "copies.csv").write_text("image,twin,kind,likeness\n")
    (made / "groups.csv").write_text("image,group\n")
    program, links, symlink = importlib.import_module(stage), [0.0], os.symlink

    def timed_symlink(*paths):
        start = time.perf_counter()
        symlink(*paths)
        links[0] += time.perf_counter() - start

    os.symlink = timed_symlink
    start = time.perf_counter()
    program.main(*arguments[stage])
    most = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(time.perf_counter() - start, links[0], max(most) / 1000)


def run_stages(what, file_size, size, distinct, count):
    """Call the stages on a tenth of the images, on all and on a tenth again; print time and memory of each."""
    found = {stage: [] for stage in STAGES}
    # Nothing is deleted in between: a file system may look for long past what was, when it makes files.
    with tempfile.TemporaryDirectory(prefix="baton-scale-") as scratch:
        for number, images in enumerate((count // 10, count, count // 10)):
            folder = Path(scratch) / str(number)
            link_images(folder, file_size, distinct, images)
            for stage in STAGES:
                printed = read_output([sys.executable, __file__, "stage", stage, folder, str(size)])
                found[stage].append([float(value) for value in printed.split()])
    print(f"{count:,} {what} at {size} px, and a tenth of them before and after:", flush=True)
    for stage, runs in found.items():
        seconds, links, mb = np.transpose(runs)
        for name, (before, whole, after) in ((stage, seconds - links), (f"{stage}, making links", links)):
            if whole:
                ratio = 2 * whole / (before + after)
                print(
                    f"{name}: {whole:.1f} s, {ratio:.1f} times a tenth's {before:.1f} and {after:.1f} s",
                    flush=True,
                )
        print(f"{stage}, memory: {mb[1]:.0f} MB, a tenth's {max(mb[0], mb[2]):.0f}", flush=True)


def main():
    if sys.argv[1:2] == ["stage"]:
        call_stage(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    parts = sys.argv[1:] or ["photos", "small"]
    if "photos" in parts:
        run_stages("photos of 640 x 480", (640, 480), 150, 2000, 100_000)
    if "small" in parts:
        run_stages("images of 32 x 32", (32, 32), 32, 5000, 1_000_000)


if __name__ == "__main__":
    main()
