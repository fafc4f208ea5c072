"""Print how fast images are packed and read, what 16 bits bring, and how long a dry run takes.

Timings on a shared machine drift, so two things are compared in turns, in one process, and the
median of the ratios is what counts.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from baton.manifests import write_manifest
from baton.training import networks
from baton.training.splits import Split
from baton.training.trainer import Trainer

# isort: split
import keras
import pandas as pd

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())


def settings_of(name):
    model = next(model for model in CONFIG["models"] if model["name"] == name)
    return {**CONFIG["training"], **model}


def make_split(folder, count, size):
    """Write a packed split of `count` random images, in nine classes, and open it."""
    draw = np.random.default_rng(1)
    np.save(folder / "images.npy", draw.integers(0, 256, (count, size, size, 3), np.uint8))
    write_manifest(pd.DataFrame({"label": draw.integers(0, 9, count)}), folder / "images.csv")
    return Split(folder / "images.npy", folder / "images.csv", np.ones(9))


def make_trainer(name, size, precision):
    networks.set_up(2, networks.choose_precision(precision).precision, seed=1)
    settings = settings_of(name) | {"size": size}
    network = networks.build_network(settings, CONFIG["augmentation"], 9, seed=1)
    return Trainer(network, settings["learning_rate"])


def seconds_for(trainer, batches):
    start = time.perf_counter()
    for batch in batches:
        is_number = trainer.train_step(*batch)
    bool(is_number)  # waits for the last one
    return time.perf_counter() - start


def input_speed(name, size, steps, pairs):
    """Print how long training on one batch in memory takes, as a share of training from the packed file."""
    with tempfile.TemporaryDirectory() as folder:
        split = make_split(Path(folder), 32 * steps, size)
        trainer = make_trainer(name, size, "auto")
        memory = next(iter(split.batches(32)))
        seconds_for(trainer, [memory] * 3)
        ratios = []
        for number in range(pairs):
            order = np.random.default_rng(number).permutation(len(split))
            batches = [split.batches(32, order), [memory] * steps]
            if number % 2:  # who goes first changes, or a drift would favour one
                constant, packed = (seconds_for(trainer, some) for some in reversed(batches))
            else:
                packed, constant = (seconds_for(trainer, some) for some in batches)
            ratios.append(constant / packed)
    speed = 32 * steps / packed
    print(
        f"input: {name} at {size} px, {speed:.0f} images/s; packed file against one batch in memory: "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {pairs} pairs)"
    )


def precision_speed(name, size, steps, pairs):
    """Print how much faster mixed_bfloat16 trains than float32."""
    with tempfile.TemporaryDirectory() as folder:
        split = make_split(Path(folder), 32, size)
        batch = next(iter(split.batches(32)))
        trainers = [make_trainer(name, size, precision) for precision in ("mixed_bfloat16", "float32")]
        for trainer, precision in zip(trainers, ("mixed_bfloat16", "float32"), strict=True):
            keras.config.set_dtype_policy(precision)
            seconds_for(trainer, [batch] * 2)
        ratios = []
        for _ in range(pairs):
            half, full = (seconds_for(trainer, [batch] * steps) for trainer in trainers)
            ratios.append(full / half)
    print(
        f"precision: {name} at {size} px: mixed_bfloat16 is {statistics.median(ratios):.2f} times as fast as "
        f"float32 ({min(ratios):.2f} to {max(ratios):.2f}, {pairs} pairs)"
    )


def dry_run(count, models=6, scan_images=True):
    """Print how long `snakemake -n` takes with `count` images in three class folders, and of a sweep of `models`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for label in ("a", "b", "c"):
            (folder / "images" / label).mkdir(parents=True)
            for number in range(count // 3):
                (folder / "images" / label / f"{number}.jpg").touch()
        config = {"data": {"source": "class_folders", "images": "images"}, "scan_images": scan_images}
        if models != 6:
            swept = {"kernels": 8, "kernel_size": 3, "dense": list(range(1, models + 1)), "layers": 2}
            config |= {"models": [], "sweep": [{"name": "swept", **swept}]}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", "-n", "--snakefile", ROOT / "Snakefile"]
        command += ["--directory", folder, "--configfile", folder / "config.yaml"]
        times = []
        if not scan_images:  # as in a study that was run before
            (folder / ".snakemake").mkdir()
            (folder / ".snakemake/images_seen").write_text("seen")
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    how = "" if scan_images else ", scan_images: false"
    print(f"dry run: {count} images, {models} models{how}: {statistics.median(times):.2f} s")


def save_photos(folder, count, width=640, height=480):
    """Save a photo, and a manifest in which it stands `count` times."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    rows = [("photo.jpg", "a", split, "") for split in ("train",) * count + ("validation", "test")]
    write_manifest(pd.DataFrame(rows, columns=["image", "class", "split", "sha256"]), folder / "images.csv")
    (folder / "weights.json").write_text(json.dumps({"classes": ["a"], "weights": [1.0]}))


def packing_memory(count):
    """Print the most memory that packing `count` photos of 640 x 480 px takes, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        save_photos(folder, count)
        subprocess.run(
            [sys.executable, __file__, "pack", folder], check=True, stderr=subprocess.DEVNULL, text=True
        )


def pack(folder, size=150):
    """Pack what `save_photos` saved; return the seconds that it took."""
    import pack_images

    splits = ("train", "validation", "test")
    start = time.perf_counter()
    pack_images.main(
        folder / "images.csv",
        folder / "weights.json",
        folder,
        {split: folder / f"{split}.npy" for split in splits},
        {split: folder / f"{split}.csv" for split in splits},
        processes=os.cpu_count(),
        size=size,
        synthetic_fraction=0,
        augmentation=None,
        seed=1,
    )
    return time.perf_counter() - start


def print_packing(folder):
    seconds = pack(folder)
    count = len(np.load(folder / "train.npy", mmap_mode="r"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"packing: {count} photos of 640 x 480 px in {seconds:.1f} s, at most {most:.0f} MB of memory")


def main():
    if sys.argv[1:2] == ["pack"]:
        print_packing(Path(sys.argv[2]))
        return
    for count in (1_000, 8_000):
        packing_memory(count)
    dry_run(100_000)
    dry_run(1_000_000)
    dry_run(1_000_000, scan_images=False)
    for models in (100, 300, 1_000):
        dry_run(30, models)
    input_speed("model_3", 32, steps=40, pairs=9)
    input_speed("model_3", 150, steps=8, pairs=5)
    precision_speed("model_3", 32, steps=20, pairs=5)
    precision_speed("model_1", 64, steps=5, pairs=5)


if __name__ == "__main__":
    main()
