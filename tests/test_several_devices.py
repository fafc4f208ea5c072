"""One model on several devices: two virtual CPUs, which TensorFlow must be told of before it starts.

So the training runs run in child processes, this file as a program: one with two devices, and one that goes on from a
state that the first has left.
"""

import json
import sys
from pathlib import Path

AUGMENTATION = {"flip": "horizontal", "rotation": 0.1, "zoom": 0, "brightness": 0, "contrast": 0}
STILL = dict.fromkeys(AUGMENTATION, 0) | {"flip": None}
SIZE, CLASSES, STEPS = 8, 3, 4
SETTINGS = {
    "name": "net",
    "size": SIZE,
    "kernels": 2,
    "kernel_size": 3,
    "dense": 4,
    "layers": 1,
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 0.01,
    "l2": 0.01,
    "dropout": 0.5,
    "initializer": "he_normal",
    "stddev": 0.1,
    "class_weights": "balanced",
    "monitor": "val_accuracy",
    "patience": None,
    "precision": "float32",
}
IMAGES = 13  # in batches of 4 the last one is a single image: fewer than devices
STOP = 6  # steps: in the middle of the second epoch


# --- What runs in the child processes


def see_two_devices():
    """Have TensorFlow see two CPUs, on one thread and with the same bits each time."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf


def write_data(folder):
    """Write the arrays, manifests and class weights of a study of noise; return them as train.main wants them."""
    import numpy as np
    import pandas

    from baton.manifests import write_manifest

    packed, draw = {}, np.random.default_rng(5)
    for split, count in (("train", IMAGES), ("validation", 5)):
        packed |= {split: f"{folder}/{split}.npy", f"{split}_manifest": f"{folder}/{split}.csv"}
        np.save(packed[split], draw.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8))
        labels = pandas.DataFrame({"label": draw.integers(0, CLASSES, count).astype(str)})
        write_manifest(labels, Path(packed[f"{split}_manifest"]))
    weights = f"{folder}/class_weights.json"
    Path(weights).write_text(json.dumps({"classes": ["a", "b", "c"], "weights": [0.5, 1.0, 2.5]}))
    return packed, weights


def make_training(packed, weights, gpus, settings, augmentation):
    """Return a Training at its start on that many devices."""
    import keras

    from baton.training import networks
    from baton.training.splits import Split
    from baton.training.trainer import Trainer
    from baton.training.training import Training

    keras.utils.clear_session()  # names count from 1, as in a process of its own; the number format is forgotten
    keras.config.set_dtype_policy(settings["precision"])
    keras.utils.set_random_seed(1)
    strategy = networks.distribute(gpus)
    with strategy.scope():
        network = networks.build_network(settings, augmentation, CLASSES, 1)
    train = Split(packed["train"], packed["train_manifest"], json.loads(Path(weights).read_text())["weights"])
    validation = Split(packed["validation"], packed["validation_manifest"])
    trainer = Trainer(network, settings["learning_rate"], strategy)
    return Training(trainer, train, validation, settings, 1)


class Stopped(Exception):
    pass


def run_to(training, steps=None):
    """Train to the end, or until that many steps are made in all; return the loss and accuracy so far at each step."""
    seen = []

    def pause():
        if len(seen) < training.epoch * STEPS + training.step:
            seen.append(training.trainer.training_metrics.results())
        if training.epoch * STEPS + training.step == steps:
            raise Stopped

    try:
        while not training.complete:
            training.run_epoch(pause)
    except Stopped:
        pass
    return seen


def digest(training):
    """Return a SHA-256 of each array of the state, by name, and the history."""
    import hashlib

    import numpy as np

    arrays, values = training.to_state()
    digests = {
        name: hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for name, a in arrays.items()
    }
    return {"arrays": digests, "history": values["history"]}


def compare_counts(packed, weights, precision="float32"):
    """Return the losses and weights of the same training without chance on one device and on two."""
    settings = SETTINGS | {"dropout": 0, "precision": precision}
    found = {}
    for gpus in (1, 2):
        training = make_training(packed, weights, gpus, settings, STILL)
        found[gpus] = {
            "devices": training.trainer.strategy.num_replicas_in_sync,
            "seen": run_to(training),
            "history": training.history,
            "weights": [weight.numpy().tolist() for weight in training.trainer.weights],
            "optimizer": type(training.trainer.optimizer).__name__,
        }
    return found


def try_main(packed, weights, folder):
    """Return what train.main writes on one device and on two."""
    import keras
    import numpy as np

    import train
    from baton.study.session import Session

    found = {}
    for gpus in (0, 1, 2):
        keras.utils.clear_session()
        out = Path(folder) / f"out_{gpus}"
        out.mkdir()
        names = {
            "model": "model.keras",
            "history": "history.csv",
            "curves": "curves.svg",
            "summary": "training.json",
        }
        outputs = {name: str(out / file) for name, file in names.items()}
        state = Path(folder) / "state"
        arguments = {"settings": SETTINGS, "augmentation": AUGMENTATION, "seed": 1, "gpus": gpus}
        before = set(state.glob("*/"))
        train.main(packed, weights, outputs, state, str(out / "board"), 1, Session(), **arguments)
        found[gpus] = {
            "outputs": sorted(path.name for path in out.iterdir() if path.is_file()),
            "new": sorted(path.name for path in set(state.glob("*/")) - before),
            "summary": json.loads((out / "training.json").read_text()),
            "rows": (out / "history.csv").read_text().count("\n") - 1,
        }
        model = keras.models.load_model(out / "model.keras")
        images = np.load(packed["validation"])
        found[gpus]["accuracy"] = float(
            (np.argmax(model(images, training=False), 1) == read_labels(packed)).mean()
        )
    return found


def read_labels(packed):
    from baton.manifests import read_manifest

    return read_manifest(packed["validation_manifest"])["label"].astype(int).to_numpy()


def first_child(folder):
    """Try everything on two devices but going on in another process, for which a state is left in `folder`."""
    see_two_devices()
    from baton.errors import UserError
    from baton.training import networks
    from baton.training.state import load_state, save_state

    found = {}
    packed, weights = write_data(folder)
    # First, for it sets TensorFlow up.
    found["main"] = try_main(packed, weights, folder)
    found["counts"] = compare_counts(packed, weights)
    found["formats"] = {
        name: compare_counts(packed, weights, name) for name in ("mixed_bfloat16", "mixed_float16")
    }
    found["default"] = [type(networks.distribute(gpus)).__name__ for gpus in (0, 1, 2)]
    try:
        networks.distribute(3)
    except UserError as error:
        found["refusal"] = str(error)

    whole = make_training(packed, weights, 2, SETTINGS, AUGMENTATION)
    run_to(whole)
    found["whole"] = digest(whole)
    stopped = make_training(packed, weights, 2, SETTINGS, AUGMENTATION)
    run_to(stopped, STOP)
    found["at"] = [stopped.epoch, stopped.step]
    arrays, values = stopped.to_state()
    left = Path(folder) / "left"
    left.mkdir()
    save_state(left, arrays, values)
    # As Keras saves it: the generators begin anew. What is compared must see the difference.
    forgetful = make_training(packed, weights, 2, SETTINGS, AUGMENTATION)
    loaded, values = load_state(left)
    fresh, _ = forgetful.to_state()
    forgetful.restore(loaded | {name: fresh[name] for name in fresh if "seed" in name}, values)
    run_to(forgetful)
    found["forgetful"] = digest(forgetful)
    found["generators"] = [name for name in fresh if "seed" in name]
    return found


def second_child(folder):
    """Go on, in a new process, from the state that the first child has left."""
    see_two_devices()
    from baton.training import networks
    from baton.training.state import load_state

    networks.set_up(1, "float32", 1)
    packed = {
        name: f"{folder}/{name.replace('_manifest', '')}.{'csv' if 'manifest' in name else 'npy'}"
        for name in ("train", "train_manifest", "validation", "validation_manifest")
    }
    training = make_training(packed, f"{folder}/class_weights.json", 2, SETTINGS, AUGMENTATION)
    training.restore(*load_state(Path(folder) / "left"))
    run_to(training)
    return digest(training)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
    from baton.training import networks  # noqa: F401 (sets TensorFlow up to be quiet)

    child = {"first": first_child, "second": second_child}[sys.argv[1]]
    Path(sys.argv[2], f"{sys.argv[1]}.json").write_text(json.dumps(child(sys.argv[2])))
    sys.exit()


# --- The tests

import subprocess  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the children found, by name; "gone_on" is of the second."""
    folder = tmp_path_factory.mktemp("devices")
    for name in ("first", "second"):
        command = [sys.executable, __file__, name, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / f"{name}.json").read_text()) for name in ("first", "second"))
    return first | {"gone_on": second}


class TestShares:
    """Without chance, two devices that share each batch compute what one does, but for rounding."""

    def test_it_was_one_device_and_two_and_the_last_batch_one_image(self, found):
        assert [found["counts"][gpus]["devices"] for gpus in "12"] == [1, 2]
        assert IMAGES % SETTINGS["batch_size"] == 1 and len(found["counts"]["1"]["seen"]) == 3 * STEPS

    def test_the_weights_are_those_of_one_device(self, found):
        one, two = (found["counts"][gpus]["weights"] for gpus in "12")
        assert len(one) == len(two) == 6
        for mine, theirs in zip(one, two, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)

    def test_loss_and_accuracy_are_those_of_one_device_after_each_step(self, found):
        one, two = (np.array(found["counts"][gpus]["seen"]) for gpus in "12")
        np.testing.assert_allclose(one, two, atol=1e-5)
        assert len({round(loss, 5) for loss, _ in one}) == 3 * STEPS  # it moves

    def test_the_histories_are_those_of_one_device(self, found):
        for mine, theirs in zip(*(found["counts"][gpus]["history"] for gpus in "12"), strict=True):
            assert mine == pytest.approx(theirs, abs=1e-5)

    @pytest.mark.parametrize(
        ("precision", "optimizer", "most"),
        [("mixed_bfloat16", "Adam", 3e-3), ("mixed_float16", "LossScaleOptimizer", 5e-4)],
    )
    def test_in_16_bits_too_with_the_loss_scaled_where_it_needs_that(self, found, precision, optimizer, most):
        one, two = (found["formats"][precision][gpus] for gpus in "12")
        assert [two["devices"], two["optimizer"]] == [2, optimizer]
        for mine, theirs in zip(one["weights"], two["weights"], strict=True):
            np.testing.assert_allclose(mine, theirs, atol=most)
        np.testing.assert_allclose(one["seen"], two["seen"], atol=most)
        assert one["seen"] != found["counts"]["1"]["seen"], "it was float32"


class TestGoingOn:
    """With dropout, flip and rotation, stopped in an epoch and gone on with in a new process."""

    def test_it_stopped_in_the_middle_of_an_epoch(self, found):
        assert found["at"] == [1, STOP - STEPS]

    def test_every_bit_is_that_of_the_training_in_one_go(self, found):
        assert len(found["whole"]["arrays"]) > 20
        assert found["gone_on"] == found["whole"]

    def test_a_generator_that_begins_anew_would_be_seen(self, found):
        assert len(found["generators"]) >= 3
        assert found["forgetful"]["history"] != found["whole"]["history"]


class TestMain:
    def test_it_writes_its_outputs(self, found):
        for gpus in "012":
            made = found["main"][gpus]
            assert set(made["outputs"]) == {
                "curves.png",
                "curves.svg",
                "history.csv",
                "model.keras",
                "training.json",
            }
            assert made["rows"] == 3 and made["summary"]["epochs"] == 3

    def test_the_model_is_that_of_the_epoch_that_is_kept(self, found):
        for gpus in "012":
            made = found["main"][gpus]
            assert made["accuracy"] == pytest.approx(made["summary"]["kept"]["val_accuracy"])

    def test_two_devices_are_another_training_and_one_is_the_same_as_none(self, found):
        counts = [len(found["main"][gpus]["new"]) for gpus in "012"]
        assert counts == [1, 0, 1]
        assert [found["main"][gpus]["summary"]["devices"] for gpus in "012"] == [1, 1, 2]


def test_none_or_one_is_no_distribution(found):
    none, one, two = found["default"]
    assert none == one != two == "MirroredStrategy"


def test_more_devices_than_there_are_are_refused_in_a_sentence(found):
    assert found["refusal"] == (
        "resources: gpu: this model is to train on 3 GPUs, and TensorFlow finds 2 of type CPU. "
        "Ask for as many as the machine has."
    )
