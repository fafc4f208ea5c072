"""Print how long the same study takes in a notebook's few lines of Keras, and in Baton: whole, and an epoch of it.

    python tests/benchmark_notebook.py [IMAGES [MODEL ...]]

IMAGES: a folder with a folder of images for each class; without it, JPEGs of 640 x 480 are drawn. MODEL: only these;
model_3 (at two sizes) and model_5 (the most work per step) take an hour each on a slow processor. The notebook is what a
user would write: in its common form it decodes every image in every epoch, in float32; in its best it decodes once (cache),
ahead of time (prefetch), and computes in the number format and with the kernels (oneDNN's) that Baton chooses on this processor.
The study is one model with two seeds, which the notebook trains one after the other in one process. All three start from the files and end with
the accuracy on the same test images, in turn. "An epoch" is the time of all epochs by their number: where Baton trains both
seeds at a time, half of what each takes.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from own_process import read_output

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
BATCH, TURNS, CORES = 32, 2, 2
# Name, side of the images, most images, epochs: the large ones are limited for time.
MODELS = [("model_3", 32, 3000, 20), ("model_3", 96, 3000, 5), ("model_5", 150, 600, 3)]
WAYS = ("common", "best", "baton")
SEED, SEEDS = 1, (1, 2)


def draw_photos(folder, classes=3, count=500):
    """Draw JPEGs of 640 x 480 of noise round a colour for each class."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(SEED)
    for label in range(classes):
        (folder / f"class_{label}").mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 160, (48, 64, 3), np.uint8)
            pixels[..., label] += 90
            image = Image.fromarray(pixels).resize((640, 480))
            image.save(folder / f"class_{label}" / f"{number}.jpg", quality=90)
    return folder


def split(images, folder, most):
    """Link the images below folder/train, validation and test: 70, 15 and 15 %, `most` in all."""
    found = {
        path.name: sorted(path.glob("*.[jp]*g")) for path in sorted(Path(images).iterdir()) if path.is_dir()
    }
    share = min(1, most / sum(map(len, found.values())))
    for label, paths in found.items():
        random.Random(SEED).shuffle(paths)
        paths = paths[: round(share * len(paths))]
        held = round(0.15 * len(paths))
        parts = {"validation": paths[:held], "test": paths[held : 2 * held], "train": paths[2 * held :]}
        for part, of_part in parts.items():
            (folder / part / label).mkdir(parents=True)
            for path in of_part:
                (folder / part / label / path.name).symlink_to(path.resolve())


# --- The notebook


def run_notebook(way, name, size, epochs, folder):
    """What a user would write, in its common or its best form; prints accuracy and seconds of an epoch as JSON."""
    if way == "best":
        sys.path.insert(0, str(ROOT / "scripts"))
        from baton.training import kernels

        kernels.choose()  # a variable of the environment, before TensorFlow is imported
    import keras
    import numpy as np
    from keras import layers

    model = next(model for model in CONFIG["models"] if model["name"] == name)
    settings, augmentation = {**CONFIG["training"], **model}, CONFIG["augmentation"]
    if way == "best":
        from baton.training import networks

        keras.config.set_dtype_policy(networks.choose_precision("auto").precision)

    def load(part, shuffle=False):
        return keras.utils.image_dataset_from_directory(
            folder / part, image_size=(size, size), batch_size=BATCH, shuffle=shuffle, seed=SEED
        )

    train, validation, test = load("train", shuffle=True), load("validation"), load("test")
    classes = train.class_names
    counts = [len(list((folder / "train" / label).iterdir())) for label in classes]
    if way == "best":
        import tensorflow as tf

        train, validation = train.cache(), validation.cache()
        train = train.shuffle(len(train), seed=SEED)
        train, validation, test = (part.prefetch(tf.data.AUTOTUNE) for part in (train, validation, test))

    weights = {index: sum(counts) / len(counts) / count for index, count in enumerate(counts)}

    def make_network(seed):
        penalty = keras.regularizers.L2(settings["l2"])
        start = keras.initializers.RandomNormal(0, settings["stddev"], seed=seed)
        how = {"kernel_regularizer": penalty, "kernel_initializer": start}
        network = keras.Sequential([layers.Input((size, size, 3)), layers.Rescaling(1 / 255)])
        network.add(layers.RandomFlip(augmentation["flip"]))
        network.add(layers.RandomRotation(augmentation["rotation"]))
        for number in range(settings["layers"]):
            kernels = settings["kernels"] * 2**number
            network.add(
                layers.Conv2D(kernels, settings["kernel_size"], padding="same", activation="relu", **how)
            )
            network.add(layers.MaxPooling2D())
        network.add(layers.Flatten())
        network.add(layers.Dense(settings["dense"], activation="relu", **how))
        network.add(layers.Dropout(settings["dropout"]))
        network.add(layers.Dense(len(classes), activation="softmax", dtype="float32", **how))
        adam = keras.optimizers.Adam(settings["learning_rate"])
        network.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return network

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            seconds.append(time.perf_counter() - self.began)

    seconds, accuracies = [], []
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        network = make_network(seed)
        network.fit(
            train,
            validation_data=validation,
            epochs=epochs,
            class_weight=weights,
            callbacks=[Clock()],
            verbose=0,
        )
        accuracies.append(network.evaluate(test, verbose=0)[1])
        network.save(folder / f"{way}_{seed}.keras")
    print(json.dumps({"accuracy": float(np.mean(accuracies)), "epoch": float(np.mean(seconds))}))


# --- Baton


def run_baton(name, size, epochs, folder):
    """Run the study with Baton from its folders to the test accuracy; return it, and the seconds of an epoch."""
    study = Path(tempfile.mkdtemp(prefix="study_", dir=folder))
    config = {
        "data": {"source": "split_folders", "images": str(folder)},
        "images": {"size": size},
        "training": {"epochs": epochs, "batch_size": BATCH, "seeds": list(SEEDS)},
        "models": [model for model in CONFIG["models"] if model["name"] == name],
    }
    config["models"][0].pop("size", None)
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", study]
    command += ["--configfile", study / "config.yaml", "--cores", str(CORES), f"evaluate_{name}"]
    subprocess.run(command, check=True, capture_output=True)
    accuracies, seconds, sessions = [], [], []
    for seed in SEEDS:
        metrics = (study / f"results/evaluation/{name}/seed_{seed}/metrics.json").read_text()
        progress = (study / f"state/{name}/seed_{seed}/progress.json").read_text()
        training = (study / f"results/models/{name}/seed_{seed}/training.json").read_text()
        accuracies.append(json.loads(metrics)["accuracy"])
        seconds.append(json.loads(progress)["epoch_seconds"])
        sessions += json.loads(training)["sessions"]
    at_a_time = 2 if max(row["started"] for row in sessions) < min(row["ended"] for row in sessions) else 1
    return {"accuracy": statistics.mean(accuracies), "epoch": statistics.mean(seconds) / at_a_time}


def time_way(way, name, size, epochs, folder):
    """Return accuracy, seconds of an epoch and seconds of all, of one way."""
    start = time.perf_counter()
    if way == "baton":
        found = run_baton(name, size, epochs, folder)
    else:
        command = [sys.executable, __file__, "--notebook", way, name, str(size), str(epochs), str(folder)]
        found = json.loads(read_output(command).splitlines()[-1])
    return found | {"whole": time.perf_counter() - start}


def main(images=None, *names):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        images = images or draw_photos(scratch / "photos")
        for name, size, most, epochs in [model for model in MODELS if not names or model[0] in names]:
            folder = scratch / f"{name}_{size}"
            split(images, folder, most)
            times = {way: [] for way in WAYS}
            for turn in range(TURNS):
                for way in WAYS[turn % 3 :] + WAYS[: turn % 3]:
                    times[way].append(time_way(way, name, size, epochs, folder))
            count = len(list((folder / "train").glob("*/*")))
            print(f"{name} at {size} px, {count} training images, {epochs} epochs, {TURNS} turns:")
            for way in WAYS:
                median = {key: statistics.median(row[key] for row in times[way]) for key in times[way][0]}
                ratios = {
                    key: statistics.median(
                        row[key] / own[key] for row, own in zip(times[way], times["baton"], strict=True)
                    )
                    for key in ("whole", "epoch")
                }
                print(
                    f"  {way:>6}: {median['whole']:6.1f} s in all ({ratios['whole']:.2f} times Baton's), "
                    f"an epoch {median['epoch']:.2f} s ({ratios['epoch']:.2f}), accuracy {median['accuracy']:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--notebook"]:
        way, name, size, epochs, folder = sys.argv[2:]
        run_notebook(way, name, int(size), int(epochs), Path(folder))
    else:
        main(*sys.argv[1:])
