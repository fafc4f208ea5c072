"""Print what kills cost Keras' BackupAndRestore and Baton, side by side.

    PYTHONPATH=scripts .venv/bin/python tests/benchmark_backup.py

The same network, images and settings are trained by `model.fit` with BackupAndRestore (a save every
few steps, as often as its manual offers) and by Baton; each straight through, and again with its
process killed (SIGKILL) at the same random moments after its training began. Five minutes.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE, IMAGES, BATCH, EPOCHS, SEED = 16, 64, 4, 60, 1
SAVE_STEPS = 5  # of BackupAndRestore: an epoch has 16
KILLS, LONGEST = 8, 1.5  # seconds of training until a kill, at most
SETTINGS = {
    **{"name": "net", "size": SIZE, "kernels": 4, "kernel_size": 3, "dense": 8, "layers": 2},
    **{"l2": 0.0001, "dropout": 0.5},
    **{"initializer": "he_normal", "stddev": 0.1, "epochs": EPOCHS, "batch_size": BATCH, "patience": None},
    **{"learning_rate": 0.001, "monitor": "val_loss", "precision": "float32", "class_weights": "none"},
}
AUGMENTATION = {"flip": "horizontal", "rotation": 0.1, "zoom": 0, "brightness": 0, "contrast": 0}


def make_images():
    """Return (pixels, labels) of two classes that noise makes hard to tell apart."""
    draw = np.random.default_rng(SEED)
    labels = np.arange(IMAGES) % 2
    pixels = draw.integers(0, 200, (IMAGES, SIZE, SIZE, 3)) + 30 * labels[:, None, None, None]
    return pixels.astype(np.uint8), labels.astype(np.int32)


def note(file, **what):
    """Append a line of JSON; it is on its way to the disk when this returns."""
    with open(file, "a") as lines:
        lines.write(json.dumps(what) + "\n")


def train_keras(folder):
    """The way of the manual: model.fit with BackupAndRestore, and EarlyStopping for the best weights."""
    from baton.training import networks

    # isort: split
    import keras

    networks.set_up(1, "float32", SEED)
    network = networks.build_network(SETTINGS, AUGMENTATION, 2, SEED)
    network.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy", metrics=["accuracy"])
    pixels, labels = make_images()

    class Notes(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            note(folder / "steps.jsonl", step=int(self.model.optimizer.iterations))

    best = keras.callbacks.EarlyStopping("val_loss", patience=EPOCHS, restore_best_weights=True)
    backup = keras.callbacks.BackupAndRestore(folder / "backup", save_freq=SAVE_STEPS)
    history = network.fit(
        *(pixels, labels, BATCH, EPOCHS),
        verbose=0,
        validation_data=(pixels[: IMAGES // 2], labels[: IMAGES // 2]),
        callbacks=[backup, best, Notes()],
    )
    variables = {f"network/{n:03}": np.asarray(v) for n, v in enumerate(network.variables)}
    variables |= {f"optimizer/{n:03}": np.asarray(v) for n, v in enumerate(network.optimizer.variables)}
    np.savez(folder / "variables.npz", **variables)
    rows = [
        dict(zip(history.history, row, strict=True)) for row in zip(*history.history.values(), strict=True)
    ]
    (folder / "result.json").write_text(json.dumps({"epochs": history.epoch, "history": rows}))


def train_baton(folder):
    import pandas as pd

    import train
    from baton.manifests import write_manifest
    from baton.study.session import Session
    from baton.training.trainer import Trainer

    pixels, labels = make_images()
    packed = {}
    for split, count in (("train", IMAGES), ("validation", IMAGES // 2)):
        packed[split], packed[f"{split}_manifest"] = folder / f"{split}.npy", folder / f"{split}.csv"
        np.save(packed[split], pixels[:count])
        write_manifest(pd.DataFrame({"label": labels[:count]}), packed[f"{split}_manifest"])
    weights = folder / "weights.json"
    weights.write_text(json.dumps({"classes": ["a", "b"], "weights": [1, 1]}))

    class Noting(Trainer):
        def train_step_noted(self, *batch):
            self.compiled(*batch)
            note(folder / "steps.jsonl", step=int(self.optimizer.iterations))

        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self.compiled, self.train_step = self.train_step, self.train_step_noted

    write_outputs = train.write_outputs

    def write_and_note(training, *facts, **outputs):
        write_outputs(training, *facts, **outputs)
        epochs = [row["epoch"] - 1 for row in training.history]
        (folder / "result.json").write_text(json.dumps({"epochs": epochs, "history": training.history}))

    train.Trainer, train.write_outputs = Noting, write_and_note
    names = {
        "model": "model.keras",
        "history": "history.csv",
        "curves": "curves.png",
        "summary": "training.json",
    }
    outputs = {key: folder / "model" / name for key, name in names.items()}
    (folder / "model").mkdir(exist_ok=True)  # Snakemake would
    arguments = {"outputs": outputs, "state": folder / "state", "board": folder / "board", "threads": 1}
    arguments |= {"session": Session(), "settings": SETTINGS, "augmentation": AUGMENTATION}
    train.main(packed, weights, **arguments, seed=SEED)


def start(kind, folder):
    """Start (or go on with) a training run in `folder` and return its process once it has begun a step."""
    folder.mkdir(exist_ok=True)
    steps = folder / "steps.jsonl"
    before = steps.stat().st_size if steps.exists() else 0
    with open(folder / "output.txt", "a") as output:
        process = subprocess.Popen([sys.executable, __file__, kind, folder], stdout=output, stderr=output)
    while process.poll() is None and (steps.stat().st_size if steps.exists() else 0) == before:
        time.sleep(0.005)
    return process


def run(kind, folder, moments):
    """Train to the end, killed at `moments`; return how many kills hit and how often it could not start again."""
    killed, lost, moments = 0, 0, [*moments]
    while moments or not (folder / "result.json").exists():
        process = start(kind, folder)
        try:
            code = process.wait(moments.pop(0) if moments else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            continue
        if code == 0:
            break
        if lost == killed:  # nothing that a kill left behind: it does not train at all
            sys.exit((folder / "output.txt").read_text())
        lost += 1  # what it saved does not open: a user would delete it and train from the start
        subprocess.run(["rm", "-rf", folder / "backup", folder / "state"], check=True)
    return killed, lost


def variables_of(kind, folder):
    if kind == "keras":
        with np.load(folder / "variables.npz") as file:
            return dict(file)
    from baton.training.state import NEWEST, load_state

    arrays, _ = load_state(next(path.parent for path in (folder / "state").glob(f"*/{NEWEST}")))
    return arrays


def differing_bits(one, other):
    if one.shape != other.shape:
        return 8 * max(one.nbytes, other.nbytes)
    pair = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (one, other)]
    return int(np.unpackbits(pair[0] ^ pair[1]).sum())


def compare(kind, folder, moments):
    straight, killed = folder / f"{kind} straight", folder / f"{kind} killed"
    run(kind, straight, [])
    kills, lost = run(kind, killed, moments)
    one, other = variables_of(kind, straight), variables_of(kind, killed)
    bits = {name: differing_bits(one[name], other[name]) for name in one}
    done = [json.loads(line)["step"] for line in (killed / "steps.jsonl").read_text().splitlines()]
    results = [json.loads((path / "result.json").read_text()) for path in (straight, killed)]
    epochs = [set(result["epochs"]) for result in results]
    rows = [dict(zip(result["epochs"], map(repr, result["history"]), strict=True)) for result in results]
    changed = sum(rows[0][epoch] != rows[1][epoch] for epoch in epochs[0] & epochs[1])
    total, per_epoch = sum(array.nbytes * 8 for array in one.values()), -(-IMAGES // BATCH)
    print(
        f"{kind}, {kills} kills:\n"
        f"  {sum(bits.values())} of {total} bits differ, in {sum(map(bool, bits.values()))} of {len(bits)} variables\n"
        f"  {len(done)} steps for {EPOCHS * per_epoch}: {len(done) - len(set(done))} repeated; the optimizer counts "
        f"{max(done)}\n"
        f"  history rows: {len(epochs[0] - epochs[1])} of {EPOCHS} lost, {changed} of the others differ\n"
        f"  backups that could not be gone on from: {lost}",
        flush=True,
    )


def main():
    if len(sys.argv) == 3:
        {"keras": train_keras, "baton": train_baton}[sys.argv[1]](Path(sys.argv[2]))
        return
    seed = int(os.environ.get("BATON_TEST_SEED", 20261124))
    draw = random.Random(seed)
    moments = [draw.uniform(0, LONGEST) for _ in range(KILLS)]
    print(f"kills after {', '.join(f'{moment:.2f}' for moment in moments)} s of training (seed {seed})")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("keras", "baton"):
            compare(kind, Path(folder), moments)


if __name__ == "__main__":
    main()
