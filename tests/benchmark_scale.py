"""Print what packing and training do where the data are large: at the decoder's speed, and from a file larger than memory.

    PYTHONPATH=scripts:tests python tests/benchmark_scale.py [packing] [memory]

Packing against the same decoder in a bare loop. Training model_3 from a packed file of ten times the memory that a control
group allows, against one batch in memory; as root, with control groups of version 1. Ten minutes, and 30 GB of disk in the
temporary folder.
"""

import csv
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from benchmark import make_trainer, pack, save_photos, seconds_for
from own_process import read_output

from baton.training.splits import Split
from pack_images import read_image

GROUP = Path("/sys/fs/cgroup/memory/baton_benchmark")
LIMIT = 2_000_000_000  # bytes of memory, of which training takes 1.65 GB at 150 px
TIMES = 10  # as large is the packed file


def decode_all(paths, size):
    for path in paths:
        read_image(path, size=size, ranges={})


def packing_speed(width, height, size, count, pairs=5):
    """Print the speed of packing as a share of that of its decoder in a bare loop, in as many processes as there are cores."""
    cores, ratios = os.cpu_count(), []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        save_photos(folder, count, width, height)
        with ProcessPoolExecutor(cores) as pool:
            decode = partial(decode_all, size=size)
            list(pool.map(decode, [[folder / "photo.jpg"]] * cores))  # all is imported
            for _ in range(pairs):
                start = time.perf_counter()
                list(pool.map(decode, [[folder / "photo.jpg"] * (count // cores)] * cores))
                bare = time.perf_counter() - start
                ratios.append(bare / pack(folder, size))
    print(
        f"packing images of {width} x {height} at {size} px: {statistics.median(ratios):.2f} of the speed of its decoder in a bare loop, {cores} cores "
        f"({min(ratios):.2f} to {max(ratios):.2f}, {pairs} pairs)",
        flush=True,
    )


# --- A packed file larger than memory


def train_from(folder, size, steps):
    """Print the seconds of a step from the packed file in `folder` and from one batch in memory; in a process of its own."""
    split = Split(folder / "images.npy", folder / "images.csv", np.ones(9))
    trainer = make_trainer("model_3", size, "auto")
    memory = next(iter(split.batches(32)))
    seconds_for(trainer, [memory] * 3)
    ratios = []
    for turn in range(4):
        order = np.random.default_rng(turn).permutation(len(split))[: 32 * steps]
        packed = seconds_for(trainer, split.batches(32, order))
        ratios.append(seconds_for(trainer, [memory] * steps) / packed)
    print(statistics.median(ratios))


def write_split(folder, count, size):
    """Write a packed split of `count` images of noise: block by block, since it is larger than memory."""
    draw = np.random.default_rng(1)
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, size, size, 3))
    block = draw.integers(0, 256, (1000, size, size, 3), np.uint8)
    for start in range(0, count, 1000):
        images[start : start + 1000] = block[: count - start]
    del images  # what is mapped stays in memory
    # Or it would be read from what is left in memory, which the control group of another process does not count.
    with open(folder / "images.npy", "rb") as file:
        os.fsync(file.fileno())  # what is not written yet would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with open(folder / "images.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["label"])
        table.writerows([label] for label in draw.integers(0, 9, count))


def larger_than_memory(size, steps):
    """Print the speed of training from a file of TIMES the memory that there is, as a share of that from one batch."""
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), TIMES * LIMIT // (3 * size * size), size)
        GROUP.mkdir(exist_ok=True)
        try:
            (GROUP / "memory.limit_in_bytes").write_text(str(LIMIT))
            enter = f'echo $$ > {GROUP}/cgroup.procs; exec "$@"'
            command = [sys.executable, __file__, "train", folder, str(size), str(steps)]
            ratio = float(read_output(["sh", "-c", enter, "sh", *command]))
        finally:
            GROUP.rmdir()
    print(
        f"training model_3 at {size} px from a packed file of {TIMES * LIMIT / 1e9:.0f} GB with {LIMIT / 1e9:.1f} GB of memory: "
        f"{ratio:.2f} of the speed from one batch in memory",
        flush=True,
    )


def main():
    if sys.argv[1:2] == ["train"]:
        train_from(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    parts = sys.argv[1:] or ["packing", "memory"]
    if "packing" in parts:
        packing_speed(640, 480, 150, 4000)
        packing_speed(32, 32, 32, 40_000)
    if "memory" in parts and not os.access(GROUP.parent, os.W_OK):
        print(f"training from a file larger than memory: not measured, no limit can be set in {GROUP.parent}")
    elif "memory" in parts:
        larger_than_memory(150, steps=40)
        larger_than_memory(32, steps=400)


if __name__ == "__main__":
    main()
