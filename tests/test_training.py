"""Training against expected values: one step by NumPy, the epoch that is kept, precisions, what augmentation does.

Everything else about training compares it with itself, one device with two, resumed with whole; here an independent
network says what a step must do.
"""

import contextlib
import json
import math
import mmap
import os
import time
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from conftest import REPOSITORY

import evaluate
import train
from baton.manifests import write_manifest
from baton.study.identity import stopped_early
from baton.study.session import Session
from baton.training import device, networks
from baton.training import precision as formats
from baton.training.augmentation import augment_in_one_pass
from baton.training.splits import Split, order_of_epoch
from baton.training.trainer import Trainer
from baton.training.training import Training

CONFIG = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
OFF = {"flip": None, "rotation": 0, "zoom": 0, "brightness": 0, "contrast": 0}
SETTINGS = {"name": "net", "size": 4, "kernels": 2, "kernel_size": 3, "layers": 1, "dense": 3, "dropout": 0}
SETTINGS |= {"l2": 0.3, "initializer": "normal", "stddev": 0.5, "learning_rate": 0.01, "batch_size": 4}
SETTINGS |= {"epochs": 3, "monitor": "val_accuracy", "patience": None, "class_weights": "balanced"}
SETTINGS |= {"precision": "float32", "synthetic_fraction": 0}
WEIGHTS = [0.5, 1.0, 2.5]


@pytest.fixture(autouse=True)
def float32():
    networks.set_up(1, "float32", 1)
    yield
    keras.config.set_dtype_policy("float32")


def write_split(folder, name, count, size=4, seed=1):
    """Write `count` random images of three classes to NAME.npy and NAME.csv; return images and labels."""
    draw = np.random.default_rng([seed, len(name)])
    images = draw.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = np.arange(count) % 3
    np.save(folder / f"{name}.npy", images)
    write_manifest(pd.DataFrame({"label": labels}), folder / f"{name}.csv")
    return images, labels


def open_split(folder, name, weights=None):
    return Split(folder / f"{name}.npy", folder / f"{name}.csv", weights)


# --- One step, by NumPy


def numpy_logits(weights, images):
    """Return the logits of the network of SETTINGS: convolution, ReLU, 2 x 2 maximum, dense, ReLU, dense."""
    kernel, bias, dense, dense_bias, last, last_bias = weights
    x = images.astype(float) / 255
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = np.zeros((len(x), 4, 4, 2))
    for row in range(4):
        for column in range(4):
            patch = padded[:, row : row + 3, column : column + 3]
            out[:, row, column] = np.tensordot(patch, kernel, axes=3) + bias
    out = np.maximum(out, 0)
    pooled = out.reshape(len(x), 2, 2, 2, 2, 2).max(axis=(2, 4))
    hidden = np.maximum(pooled.reshape(len(x), -1) @ dense + dense_bias, 0)
    return hidden @ last + last_bias


def numpy_entropy(weights, images, labels):
    """Return the cross-entropy of each image."""
    logits = numpy_logits(weights, images)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]


def numpy_loss(weights, images, labels, l2):
    """Return the mean of class weight x cross-entropy, and l2 times the sum of the squared kernels, not the biases."""
    weighted = np.array(WEIGHTS)[labels] * numpy_entropy(weights, images, labels)
    return weighted.mean() + l2 * sum((weights[i] ** 2).sum() for i in (0, 2, 4))


def numpy_gradient(weights, *arguments, step=1e-6):
    """Return the gradient of numpy_loss by central differences."""
    gradients = []
    for i, array in enumerate(weights):
        gradient = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = [other.copy() for other in weights]
                moved[i][place] += sign * step
                values.append(numpy_loss(moved, *arguments))
            gradient[place] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def test_the_system_is_told_which_images_are_read_and_of_nothing_around_them(tmp_path):
    write_split(tmp_path, "train", 8)
    split, told = open_split(tmp_path, "train"), []
    base = SimpleNamespace(madvise=lambda *advice: told.append(advice))
    split.images = SimpleNamespace(strides=(67_500,), offset=128, base=base)  # of 150 px
    split.read_ahead(np.array([3, 0]))
    assert [advice for advice, *_ in told] == [mmap.MADV_WILLNEED] * 2
    for row, (_, start, length) in zip((3, 0), told, strict=True):
        assert start % mmap.PAGESIZE == 0 and 0 <= 128 + row * 67_500 - start < mmap.PAGESIZE
        assert start + length == 128 + (row + 1) * 67_500


@pytest.mark.parametrize("trouble", [AttributeError, OSError])
def test_where_it_cannot_be_told_the_images_are_the_same(tmp_path, trouble):
    write_split(tmp_path, "train", 8)
    split = open_split(tmp_path, "train")

    def refuse(*_advice):
        raise trouble

    class Images(np.ndarray):
        strides, offset, base = (192,), 128, SimpleNamespace(madvise=refuse)

    expected = np.array(split.images)
    split.images = expected.view(Images)
    found = [batch[0].numpy() for batch in split.batches(3)]
    np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("l2", [0, 0.3])
def test_a_step_is_that_of_numpy(tmp_path, l2):
    images, labels = write_split(tmp_path, "train", 7)
    split = open_split(tmp_path, "train", WEIGHTS)
    network = networks.build_network(SETTINGS | {"l2": l2}, OFF, 3, seed=3)
    trainer = Trainer(network, 0.01)
    before = [weight.numpy().astype(float) for weight in trainer.weights]
    # A batch of 5 whose classes are weighted 0.5, 1 and 2.5.
    batch = next(split.batches(5, order=np.array([6, 0, 1, 2, 5])))
    rows = [6, 0, 1, 2, 5]
    gradient = numpy_gradient(before, images[rows], labels[rows], l2)
    trainer.train_step(*batch)

    weighted = np.array(WEIGHTS)[labels[rows]] * numpy_entropy(before, images[rows], labels[rows])
    loss, accuracy = trainer.training_metrics.results()
    assert loss == pytest.approx(weighted.mean(), rel=1e-5)
    right = numpy_logits(before, images[rows]).argmax(axis=1) == labels[rows]
    assert accuracy == pytest.approx(right.mean())
    penalty = l2 * sum((before[i] ** 2).sum() for i in (0, 2, 4))

    # Adam's first averages are 0.1 of the gradient and 0.001 of its square; its step is then the learning rate.
    averages = [variable.numpy() for variable in trainer.optimizer.variables[2:]]
    for i, expected in enumerate(gradient):
        np.testing.assert_allclose(averages[2 * i], 0.1 * expected, rtol=2e-4, atol=2e-6)
        np.testing.assert_allclose(averages[2 * i + 1], 0.001 * expected**2, rtol=5e-4, atol=1e-8)
        moved = before[i] - 0.01 * expected / (abs(expected) + 1e-7 / math.sqrt(0.001))
        clear = abs(expected) > 1e-4
        np.testing.assert_allclose(trainer.weights[i].numpy()[clear], moved[clear], atol=1e-5)
        assert clear.any()
    after = [weight.numpy().astype(float) for weight in trainer.weights]
    assert float(trainer.l2_penalty()) == pytest.approx(
        l2 * sum((after[i] ** 2).sum() for i in (0, 2, 4)), rel=1e-5
    )
    assert l2 == 0 or penalty > 0.1


def test_validation_is_that_of_numpy_and_knows_no_weights(tmp_path):
    write_split(tmp_path, "train", 13)
    images, labels = write_split(tmp_path, "validation", 70)  # more than VALIDATION_BATCH
    network = networks.build_network(SETTINGS, OFF, 3, seed=3)
    splits = open_split(tmp_path, "train", WEIGHTS), open_split(tmp_path, "validation")
    training = Training(Trainer(network, 0.01), *splits, SETTINGS, seed=1)
    training.run_epoch(lambda: None)
    weights = [weight.numpy().astype(float) for weight in training.trainer.weights]
    row = training.history[0]
    assert row["val_loss"] == pytest.approx(numpy_entropy(weights, images, labels).mean(), rel=1e-5)
    right = numpy_logits(weights, images).argmax(axis=1) == labels
    assert row["val_accuracy"] == pytest.approx(right.mean())
    assert row["l2"] == pytest.approx(0.3 * sum((weights[i] ** 2).sum() for i in (0, 2, 4)), rel=1e-5)


def test_13_images_in_batches_of_4_are_4_steps_which_see_each_once(tmp_path):
    images, labels = write_split(tmp_path, "train", 13)
    write_split(tmp_path, "validation", 3)
    network = networks.build_network(SETTINGS, OFF, 3, seed=3)
    splits = open_split(tmp_path, "train", WEIGHTS), open_split(tmp_path, "validation")
    training = Training(Trainer(network, 0.01), *splits, SETTINGS, seed=1)
    assert training.steps == 4
    seen = []
    training.trainer.train_step = lambda *batch: seen.append([part.numpy() for part in batch])
    training.run_epoch(lambda: None)
    assert [len(batch[1]) for batch in seen] == [4, 4, 4, 1]
    order = order_of_epoch(13, 1, 0)
    assert sorted(order) == list(range(13)) and list(order) != list(range(13))
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in seen]), images[order])
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in seen]), labels[order])
    np.testing.assert_allclose(np.concatenate([batch[2] for batch in seen]), np.array(WEIGHTS)[labels[order]])
    assert list(order_of_epoch(13, 1, 1)) != list(order) != list(order_of_epoch(13, 2, 0))


@pytest.mark.parametrize("class_weights, expected", [("balanced", WEIGHTS), ("none", [1, 1, 1])])
def test_the_weights_of_the_classes_are_those_of_their_file_in_training_alone(
    tmp_path, class_weights, expected
):
    packed = {}
    for split in ("train", "validation"):
        _, labels = write_split(tmp_path, split, 7)
        packed |= {split: tmp_path / f"{split}.npy", f"{split}_manifest": tmp_path / f"{split}.csv"}
    (tmp_path / "weights.json").write_text(json.dumps({"classes": ["a", "b", "c"], "weights": WEIGHTS}))
    settings = SETTINGS | {"class_weights": class_weights}
    training, set_up = train.prepare(packed, tmp_path / "weights.json", 1, settings, OFF, 1, "float32")
    np.testing.assert_allclose(training.train.weights, np.array(expected)[labels])
    np.testing.assert_array_equal(training.validation.weights, np.ones(7))
    assert set_up["classes"] == ["a", "b", "c"] and set_up["devices"] == 1


# --- Which epoch is kept


def scripted(monitor, rows, patience=None):
    """Return a Training that has gone through epochs with these (loss, val_loss, val_accuracy), its weights the epoch."""
    weight = SimpleNamespace(value=0.0)
    trainer = SimpleNamespace(
        training_metrics=SimpleNamespace(reset=lambda: None),
        validation_metrics=SimpleNamespace(),
        weights=[SimpleNamespace(numpy=lambda: np.array(weight.value))],
        l2_penalty=lambda: 0.0,
        weights_are_numbers=lambda: True,
    )
    settings = SETTINGS | {"monitor": monitor, "patience": patience, "epochs": len(rows) + 1}
    training = Training(trainer, range(4), range(4), settings, seed=1)
    for number, (loss, val_loss, val_accuracy) in enumerate(rows, 1):
        if training.complete:
            break
        weight.value = float(number)
        trainer.training_metrics.results = lambda loss=loss: (loss, 0.5)
        trainer.validation_metrics.results = lambda a=val_loss, b=val_accuracy: (a, b)
        training._end_epoch()
    return training


NAN = math.nan
ROWS = [(0.9, 0.8, 0.5), (0.3, 0.9, 0.7), (0.5, 0.2, 0.7), (0.4, 0.6, 0.6)]


@pytest.mark.parametrize(
    "monitor, rows, kept",
    [
        ("loss", ROWS, 2),
        ("val_loss", ROWS, 3),
        ("val_accuracy", ROWS, 2),  # of equal ones the first
        ("val_accuracy", ROWS[::-1], 2),
        ("loss", ROWS[::-1], 3),
        ("val_loss", [(1, 0.5, 0), (1, 0.5, 0)], 1),
        ("val_loss", [(1, 0.5, 0), (1, 0.4, 0), (1, 0.6, 0)], 2),
        ("val_loss", [(1, NAN, 0), (1, 0.9, 0), (1, NAN, 0)], 2),
        ("val_accuracy", [(1, 1, 0.2), (NAN, 1, 0.9), (1, NAN, 0.9), (1, math.inf, 0.9)], 1),
        ("val_accuracy", [(NAN, NAN, 0.9), (1, 1, 0.2)], 2),
        ("loss", [(1, NAN, 0), (2, 1, 0)], 2),
        ("val_loss", [(1, 0.9, 0), (1, NAN, 0), (1, 0.8, 0)], 3),
        ("val_accuracy", [(1, 1, 0.2), (1, 1, 0.9), (1, 1, 0.3)], 2),
    ],
)
def test_the_epoch_that_is_kept(monitor, rows, kept):
    training = scripted(monitor, rows)
    assert training.best_epoch == kept
    assert [float(weight) for weight in training.best_weights] == [kept]


def test_where_no_epoch_has_numbers_the_last_is_written(tmp_path):
    training = scripted("loss", [(NAN, 1, 0.9), (1, NAN, 0.9)])
    assert training.best_epoch is None  # one epoch is left, and may be better
    training.settings["epochs"] = 3
    training.trainer.training_metrics.results = lambda: (NAN, 0.5)
    training._end_epoch()
    assert training.complete and training.best_epoch == 3


@pytest.mark.parametrize("patience, epochs", [(1, 3), (2, 4), (3, 4), (None, 4)])
def test_patience_counts_epochs_without_a_better_one(patience, epochs):
    training = scripted("val_accuracy", [(1, 1, 0.1), (1, 1, 0.5), (1, 1, 0.5), (1, 1, 0.4)], patience)
    assert training.epoch == epochs
    assert training.complete == (patience in (1, 2))


def of_nine_images(folder, **settings):
    """Return a training run at its start, on nine images and as many for validation."""
    keras.utils.clear_session()  # so that variables are called what they are in a process of their own
    write_split(folder, "train", 9)
    write_split(folder, "validation", 9)
    network = networks.build_network(SETTINGS, OFF, 3, seed=3)
    splits = open_split(folder, "train"), open_split(folder, "validation")
    return Training(Trainer(network, 0.01), *splits, SETTINGS | settings, seed=1)


class TestDivergence:
    """Nine images in batches of four: three steps an epoch."""

    @pytest.fixture
    def training(self, tmp_path):
        return of_nine_images(tmp_path, epochs=6)

    def spoil_at(self, training, epoch, step, value=math.nan):
        """Have the weights become NaN in a step, from 1, of an epoch, as an update by a NaN gradient does."""
        real = training.trainer.train_step

        def train_step(*batch):
            if (training.epoch + 1, training.step + 1) == (epoch, step):
                for weight in training.trainer.weights:
                    weight.assign(weight * value)
            return real(*batch)

        training.trainer.train_step = train_step

    def run(self, training):
        while not training.complete:
            training.run_epoch(lambda: None)

    @pytest.mark.parametrize("step", [1, 2, 3])
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_it_ends_the_training_and_the_epoch_before_is_kept(self, training, step, value):
        weights = []
        training.settings["monitor"] = "loss"
        for _ in range(2):
            training.run_epoch(lambda: None)
            weights.append([weight.numpy() for weight in training.trainer.weights])
        best = training.best_epoch
        self.spoil_at(training, 3, step, value)
        self.run(training)
        assert training.diverged == {"epoch": 3, "step": step}
        assert (training.epoch, training.step, len(training.history)) == (3, 0, 3)
        assert training.best_epoch == best
        for found, expected in zip(training.best_weights, weights[best - 1], strict=True):
            np.testing.assert_array_equal(found, expected)
        assert math.isnan(training.history[-1]["loss"])

    def test_with_no_epoch_before_the_model_is_written_and_said_to_predict_nothing(self, training):
        self.spoil_at(training, 1, 2)
        self.run(training)
        assert (training.best_epoch, training.epoch) == (1, 1)
        assert not np.isfinite(training.best_weights[0]).any()
        assert train.describe_divergence(training).startswith(
            "diverged in step 2 of epoch 1: its weights are no numbers any more. Training ends here; no epoch before it"
        )

    def test_it_is_in_the_state_and_more_epochs_do_not_train_on(self, training, tmp_path):
        training.run_epoch(lambda: None)
        self.spoil_at(training, 2, 3)
        self.run(training)
        arrays, values = training.to_state()
        other = of_nine_images(tmp_path, epochs=60)
        other.restore(arrays, json.loads(json.dumps(values)))
        assert other.complete and other.diverged == {"epoch": 2, "step": 3}
        assert stopped_early(None, values["epoch"], values["best_epoch"], values["diverged"])

    def test_stopped_between_the_step_and_the_end_of_its_epoch_it_ends_there_too(self, training, tmp_path):
        class Stop(Exception):
            pass

        def stop_in_validation():
            if training.diverged:
                raise Stop

        training.run_epoch(lambda: None)
        self.spoil_at(training, 2, 1)
        with pytest.raises(Stop):
            training.run_epoch(stop_in_validation)
        other = of_nine_images(tmp_path, epochs=6)
        other.restore(*training.to_state())
        other.trainer.train_step = None  # nothing is trained any more
        other.run_epoch(lambda: None)
        assert other.complete and other.epoch == 2 and other.best_epoch == 1

    @pytest.mark.parametrize("stop_after", [1, 2, 3])
    @pytest.mark.parametrize("step", [1, 2, 3])
    def test_stopped_at_any_step_it_ends_as_without(self, training, tmp_path, step, stop_after):
        class Stop(Exception):
            pass

        def stop():
            if (training.epoch, training.step) == (1, stop_after):
                raise Stop

        straight = of_nine_images(tmp_path, epochs=6)
        self.spoil_at(straight, 2, step)
        self.run(straight)
        training.run_epoch(lambda: None)
        self.spoil_at(training, 2, step)
        with contextlib.suppress(Stop):
            training.run_epoch(stop)
        other = of_nine_images(tmp_path, epochs=6)
        arrays, values = training.to_state()
        other.restore(arrays, json.loads(json.dumps(values)))
        self.spoil_at(other, 2, step)
        self.run(other)
        assert other.diverged == straight.diverged == {"epoch": 2, "step": step}
        assert str(other.history) == str(straight.history)  # "nan" is "nan"

    def test_a_state_of_an_earlier_version_that_has_diverged_ends_at_its_next_step(self, training, tmp_path):
        training.run_epoch(lambda: None)
        arrays, values = training.to_state()
        del values["diverged"]
        arrays = {
            name: array * np.float32(math.nan)
            if name.startswith("network/") and array.dtype == np.float32
            else array
            for name, array in arrays.items()
        }
        other = of_nine_images(tmp_path, epochs=6)
        other.restore(arrays, values)
        self.run(other)
        assert other.diverged == {"epoch": 2, "step": 1} and other.best_epoch == 1

    def test_a_step_that_leaves_the_weights_as_they_were_is_none(self, training):
        """As float16's loss scaling does where a gradient is too large."""
        real = training.trainer.train_step
        training.trainer.train_step = lambda *batch: real(*batch) and tf.constant(False)
        self.run(training)
        assert training.diverged is None and training.epoch == 6

    def test_it_adds_no_variable(self, training):
        before = set(training.trainer.variables())
        training.run_epoch(lambda: None)
        assert (
            set(training.trainer.variables())
            == before
            == {name for name in training.to_state()[0] if not name.startswith("best/")}
        )


def test_what_is_kept_is_written_and_the_last_epoch_goes_on(tmp_path):
    training = of_nine_images(tmp_path, monitor="loss")
    training.run_epoch(lambda: None)
    kept = [weight.numpy() for weight in training.trainer.weights]
    training.history[0]["loss"] = 0.0  # nothing will be better
    training.run_epoch(lambda: None)
    assert training.best_epoch == 1
    last = [weight.numpy() for weight in training.trainer.weights]
    assert any((one != other).any() for one, other in zip(kept, last, strict=True))
    with training.network_kept() as written:
        for weight, expected in zip(written.trainable_variables, kept, strict=True):
            np.testing.assert_array_equal(weight.numpy(), expected)
    for weight, expected in zip(training.trainer.weights, last, strict=True):
        np.testing.assert_array_equal(weight.numpy(), expected)


def test_a_training_tells_its_time_and_the_size_of_its_state(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        "baton.training.training.show_progress", lambda items, title, *_, **__: titles.append(title) or items
    )
    training = of_nine_images(tmp_path)
    told = training.state_bytes()
    assert training.seconds == 0
    before = time.monotonic()
    training.run_epoch(lambda: None)
    assert 0 < training.seconds <= time.monotonic() - before
    training.run_epoch(lambda: None)
    assert titles == [f"net seed 1, epoch {epoch} of 3" for epoch in (1, 2)]
    arrays, values = training.to_state()
    assert told == sum(array.nbytes for array in arrays.values())


def test_the_curves_for_tensorboard_are_on_the_disk_after_each_epoch(tmp_path):
    row = {"epoch": 1} | dict.fromkeys(("loss", "accuracy", "l2", "val_loss", "val_accuracy"), 0.5)
    board = train.TensorBoard(tmp_path, [])
    board.add(row)
    for split in ("train", "validation"):
        (events,) = (tmp_path / split).iterdir()
        assert b"accuracy" in events.read_bytes()


def test_where_sessions_began_is_marked_on_the_curves(tmp_path, monkeypatch):
    training = of_nine_images(tmp_path)
    training.run_epoch(lambda: None)
    training.sessions = [{"from": [0, 0]}, {"from": [0, 2]}, {"from": [3, 0]}]
    marked = []
    monkeypatch.setattr(
        train, "draw_curves", lambda history, best, begun, title: marked.append((begun, title))
    )
    monkeypatch.setattr(train, "save_figure", lambda figure, path: None)
    names = {"model": "m.keras", "history": "h.csv", "curves": "c.svg", "summary": "s.json"}
    train.write_outputs(training, {}, **{name: tmp_path / file for name, file in names.items()})
    assert marked == [([2 / training.steps, 3.0], "net, seed 1")] and training.steps == 3


def test_the_layers_are_named_as_the_states_that_there_are_name_them():
    network = networks.build_network(
        SETTINGS | {"layers": 2, "dropout": 0.5}, OFF | {"flip": "vertical"}, 3, 1
    )
    names = "pixels random_flip scale convolution_1 pooling_1 relu_1 convolution_2 pooling_2 relu_2 flatten dense dropout"
    assert [layer.name for layer in network.layers] == [*names.split(), "logits", "probabilities"]


# --- Precision


def run_main(folder, precision, epochs, threads=1, augmentation=OFF, **settings):
    """Train with train.main in `folder` on images whose class is their brightness; return training.json and history."""
    draw = np.random.default_rng(4)
    packed = {}
    for split, count in (("train", 48), ("validation", 24)):
        labels = np.arange(count) % 3
        images = draw.integers(0, 60, (count, 8, 8, 3)) + labels[:, None, None, None] * 90
        packed |= {split: folder / f"{split}.npy", f"{split}_manifest": folder / f"{split}.csv"}
        np.save(packed[split], images.astype(np.uint8))
        write_manifest(pd.DataFrame({"label": labels}), packed[f"{split}_manifest"])
    weights = folder / "weights.json"
    weights.write_text(json.dumps({"classes": ["dark", "grey", "light"], "weights": [1, 1, 1]}))
    keras.utils.clear_session()
    out = folder / "results/models/net/seed_1"
    out.mkdir(parents=True, exist_ok=True)
    names = {
        "model": "model.keras",
        "history": "history.csv",
        "curves": "curves.svg",
        "summary": "training.json",
    }
    train.main(
        packed,
        weights,
        {name: out / file for name, file in names.items()},
        state=folder / "state",
        board=folder / "board",
        threads=threads,
        session=Session(),
        settings=SETTINGS
        | {"size": 8, "dense": 16, "kernels": 4, "precision": precision, "epochs": epochs, "l2": 0.001}
        | settings,
        augmentation=augmentation,
        seed=1,
    )
    return json.loads((out / "training.json").read_text())


@pytest.mark.parametrize("precision", ["auto", "mixed_bfloat16", "mixed_float16"])
def test_each_precision_learns_what_float32_does(tmp_path, precision):
    folders = [tmp_path / name for name in ("expected", "found")]
    for folder in folders:
        folder.mkdir()
    expected = run_main(folders[0], "float32", 12)
    found = run_main(folders[1], precision, 12)
    in_force = networks.choose_precision("auto").precision if precision == "auto" else precision
    assert found["precision"] == found["identity"]["precision"] == in_force
    assert found["settings"]["precision"] == precision
    assert found["last"]["val_loss"] < 1.0 < math.log(3)
    assert found["last"]["val_loss"] == pytest.approx(expected["last"]["val_loss"], abs=0.15)
    assert found["last"]["loss"] == pytest.approx(expected["last"]["loss"], abs=0.15)


def test_float16s_loss_scale_is_part_of_the_state(tmp_path):
    write_split(tmp_path, "train", 8)

    def make():
        keras.utils.clear_session()  # variables are named as in a process of their own
        networks.set_up(1, "mixed_float16", 1)
        network = networks.build_network(SETTINGS, OFF, 3, seed=3)
        splits = open_split(tmp_path, "train"), open_split(tmp_path, "train")
        return Training(Trainer(network, 0.01), *splits, SETTINGS, seed=1)

    training = make()
    optimizer = training.trainer.optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    optimizer.dynamic_scale.assign(512.0)
    training.run_epoch(lambda: None)
    assert int(optimizer.step_counter.numpy()) == 2 and int(optimizer.inner_optimizer.iterations) == 2
    arrays, values = training.to_state()
    resumed = make()
    resumed.restore(arrays, json.loads(json.dumps(values)))
    other = resumed.trainer.optimizer
    assert float(other.dynamic_scale) == 512.0 and int(other.step_counter.numpy()) == 2
    for one in (training, resumed):
        one.run_epoch(lambda: None)
    assert training.history == resumed.history
    for name, variable in training.trainer.variables().items():
        np.testing.assert_array_equal(variable.numpy(), resumed.trainer.variables()[name].numpy(), name)


AMD, INTEL = ("vendor_id\t: AuthenticAMD\n", "vendor_id\t: GenuineIntel\n")


@pytest.mark.parametrize(
    "system, info, found",
    [
        ("Linux", f"{AMD}flags\t\t: fpu avx512f avx512_bf16\n", "mixed_bfloat16"),
        (
            "Linux",
            f"{INTEL}flags\t\t: fpu avx512f avx512_bf16\n",
            "float32",
        ),  # it has it, and is slower in it
        ("Linux", f"{INTEL}flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", "mixed_bfloat16"),
        ("Linux", "flags\t\t: fpu avx512_bf16\n", "float32"),  # of a vendor that nobody measured
        ("Linux", "Features\t: fp asimd bf16 i8mm\n", "float32"),  # ARM, likewise
        ("Linux", f"{AMD}flags\t\t: fpu avx512f avx2\n", "float32"),
        ("Linux", f"{AMD}flags\t\t: fpu avx512_bf16x\nbugs\t\t: avx512_bf16\n", "float32"),
        ("Linux", f"{AMD}model name\t: amx_bf16 wonder\nflags\t\t: fpu\n", "float32"),
        ("Darwin", f"{AMD}flags\t\t: avx512_bf16\n", "float32"),
    ],
)
def test_bfloat16_is_taken_where_the_processor_is_known_to_be_faster_in_it(
    monkeypatch, tmp_path, system, info, found
):
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(formats, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(formats.platform, "system", lambda: system)
    choice = networks.choose_precision("auto")
    assert choice.precision == found and choice.reason.startswith("the processor is ") == (
        "amx_tile" not in info
    )
    assert networks.choose_precision("mixed_float16") == ("mixed_float16", "set in the config")


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("avx2", []),
        ("avx512_bf16", ["mixed_bfloat16"]),
        ("avx512_fp16 amx_bf16", ["mixed_bfloat16", "mixed_float16"]),
    ],
)
def test_the_plan_tries_what_the_processor_computes(monkeypatch, tmp_path, flags, found):
    (tmp_path / "cpuinfo").write_text(f"{INTEL}flags\t\t: fpu {flags}\n")
    monkeypatch.setattr(formats, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(formats.platform, "system", lambda: "Linux")
    assert networks.list_formats() == ["float32", *found]


@pytest.mark.parametrize(
    "capability, found", [((8, 0), "mixed_bfloat16"), ((7, 5), "float32"), (None, "float32")]
)
def test_or_the_gpu(monkeypatch, capability, found):
    details = {} if capability is None else {"compute_capability": capability}
    monkeypatch.setattr(networks.tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(networks.tf.config.experimental, "get_device_details", lambda gpu: details)
    assert networks.choose_precision("auto").precision == found


@pytest.fixture
def gpu(monkeypatch):
    """What TensorFlow sees of a simulated GPU: it can come and go. What computes is the processor, all the same."""
    visible = []
    config = networks.tf.config
    monkeypatch.setattr(config, "get_visible_devices", lambda kind: list(visible))
    monkeypatch.setattr(config, "set_visible_devices", lambda devices, kind: visible.clear())
    monkeypatch.setattr(config.experimental, "set_memory_growth", lambda device, growing: None)
    monkeypatch.setattr(config.experimental, "get_device_details", lambda device: {})
    return visible


def test_what_the_processor_began_it_finishes_where_there_is_a_gpu(tmp_path, gpu, caplog):
    caplog.set_level("INFO")
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    for folder in (whole, begun):
        folder.mkdir()
    expected = run_main(whole, "auto", 4)
    run_main(begun, "auto", 2)
    gpu.append("a GPU")
    found = run_main(begun, "auto", 4)
    assert gpu == [] and "begun on the processor: it resumes there." in caplog.text
    assert found["last"] == expected["last"] and found["identity"] == expected["identity"]
    assert "device" not in found["identity"], "earlier versions' states are found"
    assert found["device"] == "the processor"


def test_what_an_earlier_version_began_goes_on_where_it_would_have_gone_on(
    tmp_path, gpu, caplog, monkeypatch
):
    to_state = Training.to_state

    def as_before(training):
        arrays, values = to_state(training)
        return arrays, {name: value for name, value in values.items() if name != "device"}

    with monkeypatch.context() as patch:
        patch.setattr(Training, "to_state", as_before)
        run_main(tmp_path, "float32", 2)
    gpu.append("a GPU")
    found = run_main(tmp_path, "float32", 4)
    assert gpu and "did not note what computed it: it resumes on the GPU" in caplog.text
    assert [found["epochs"], found["device"]] == [4, "a GPU"] and "device" not in found["identity"]
    # From here on it is known: nothing is asked again, and without a GPU it is said.
    caplog.clear()
    run_main(tmp_path, "float32", 5)
    assert "did not note" not in caplog.text
    gpu.clear()
    assert run_main(tmp_path, "float32", 6)["epochs"] == 6
    assert "began this on a GPU: on the processor its last bits are others" in caplog.text


def test_what_a_gpu_began_waits_for_one(tmp_path, gpu, caplog):
    caplog.set_level("INFO")
    gpu.append("a GPU")
    begun = run_main(tmp_path, "float32", 2)
    assert begun["identity"]["device"] == begun["device"] == "a GPU" and begun["epochs"] == 2
    gpu.clear()
    other = run_main(tmp_path, "float32", 3)
    assert "trained something else: device was a GPU and is the processor. Its state is kept" in caplog.text
    assert "device" not in other["identity"] and len(other["sessions"]) == 1
    gpu.append("a GPU")
    caplog.clear()
    found = run_main(tmp_path, "float32", 4)
    assert gpu and "resuming from epoch 3, step 0" in caplog.text
    assert found["identity"] == begun["identity"] and found["epochs"] == 4


@pytest.mark.parametrize(("device", "hidden"), [("the processor", True), ("a GPU", False), (None, False)])
def test_a_model_is_evaluated_on_what_trained_it(gpu, monkeypatch, device, hidden):
    gpu.append("a GPU")
    monkeypatch.setattr(evaluate.prediction, "predict_test", lambda model, images: list(gpu))
    training = {"device": device, "threads": 1, "identity": {"update": "in one pass, compiled"}}
    seen = evaluate.find_or_predict("model.keras", "test.npy", None, None, training, None, None)
    assert seen == ([] if hidden else ["a GPU"])


def test_a_finished_one_counts_wherever_it_was_trained(tmp_path, gpu, caplog):
    caplog.set_level("INFO")
    gpu.append("a GPU")
    trained = run_main(tmp_path, "float32", 2)
    gpu.clear()
    assert run_main(tmp_path, "float32", 2) == trained and "trained already" in caplog.text


def test_what_the_processor_began_in_another_precision_keeps_no_run_from_the_gpu(tmp_path, gpu, caplog):
    caplog.set_level("INFO")
    run_main(tmp_path, "mixed_bfloat16", 1)
    gpu.append("a GPU")
    found = run_main(tmp_path, "float32", 1)
    assert found["identity"]["device"] == "a GPU" and "begun on the processor" not in caplog.text


def test_nor_does_what_a_gpu_began_in_another_precision_take_one_from_the_processor(tmp_path, gpu, caplog):
    caplog.set_level("INFO")
    gpu.append("a GPU")
    run_main(tmp_path, "mixed_bfloat16", 1)
    gpu.clear()
    run_main(tmp_path, "float32", 1)
    gpu.append("a GPU")
    found = run_main(tmp_path, "float32", 2)
    assert found["device"] == "the processor" and "resuming from epoch 2, step 0" in caplog.text


@pytest.mark.parametrize(
    ("listed", "asked", "said"),
    [
        (["GPU-1"], 0, "this machine has a GPU"),
        (["GPU-1"], 1, "this machine has a GPU"),
        ([], 1, "this job asked for a GPU"),
    ],
)
def test_a_gpu_that_tensorflow_does_not_see_is_told_of(
    tmp_path, gpu, monkeypatch, caplog, listed, asked, said
):
    monkeypatch.setattr(device, "list_gpus", lambda: listed)
    assert device.take_device(tmp_path, {"seed": 1}, asked, "float32") == {"seed": 1}
    assert f"{said} and TensorFlow does not see it: training on the processor" in caplog.text
    assert "requirements.gpu.lock" in caplog.text


def test_without_one_nothing_is_said(tmp_path, gpu, monkeypatch, caplog):
    monkeypatch.setattr(device, "list_gpus", list)
    device.take_device(tmp_path, {"seed": 1}, 0, "float32")
    assert caplog.text == ""


def choose(monkeypatch, found):
    """Have `auto` choose this format, as on other hardware."""
    choice = formats.Choice(found, "it is the faster one here")
    monkeypatch.setattr(
        formats, "choose", lambda wanted, gpu=None: choice if wanted == "auto" else formats.Choice(wanted, "")
    )


def test_what_auto_chose_belongs_to_the_training(tmp_path, monkeypatch, caplog):
    # Begun in bfloat16 where that is fast, gone on with where it is not; then finished and opened there again.
    choose(monkeypatch, "mixed_bfloat16")
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = run_main(whole, "auto", 4)
    assert expected["precision"] == "mixed_bfloat16"
    assert expected["precision_reason"] == "it is the faster one here"
    begun = tmp_path / "begun"
    begun.mkdir()
    run_main(begun, "auto", 2)
    choose(monkeypatch, "float32")
    found = run_main(begun, "auto", 4)
    assert found["precision"] == "mixed_bfloat16"
    assert found["precision_reason"] == "it is the faster one here", "where it began"
    assert found["last"] == expected["last"] and found["kept"] == expected["kept"]
    model = begun / "results/models/net/seed_1/model.keras"
    content = model.read_bytes()
    model.unlink()
    run_main(begun, "auto", 4)
    assert model.read_bytes() == content
    # Asked for by name, it is another training run.
    assert run_main(begun, "float32", 4)["precision"] == "float32"


# --- Saving


def test_after_a_last_save_that_failed_the_last_epoch_goes_on_and_not_the_best(tmp_path, monkeypatch):
    from baton.training import keeper

    save, failed = keeper.save_state, []

    def fail_once(folder, arrays, values):
        if values["epoch"] == 8 and values["sessions"][-1]["reason"] == "all done" and not failed:
            failed.append(True)
            raise OSError(28, "No space left on device")
        save(folder, arrays, values)

    expected, found = tmp_path / "expected", tmp_path / "found"
    for folder in (expected, found):
        folder.mkdir()
    run_main(expected, "float32", 12, learning_rate=0.1)
    monkeypatch.setattr(keeper, "save_state", fail_once)
    summary = run_main(found, "float32", 8, learning_rate=0.1)
    assert failed and summary["kept"]["epoch"] < 8, "or this shows nothing"
    run_main(found, "float32", 12, learning_rate=0.1)
    history = "results/models/net/seed_1/history.csv"
    assert (found / history).read_text() == (expected / history).read_text()


def test_a_hundred_saves_leave_no_file_open(tmp_path):
    from baton.training.keeper import Keeper

    write_split(tmp_path, "train", 8)
    network = networks.build_network(SETTINGS, OFF, 3, seed=3)
    splits = open_split(tmp_path, "train"), open_split(tmp_path, "train")
    training = Training(Trainer(network, 0.01), *splits, SETTINGS, seed=1)
    keeper = Keeper(tmp_path / "state", {})
    with keeper.only_writer():
        keeper.save(training)
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        for _ in range(100):
            assert keeper.save(training)
            keeper.load()
        after = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    assert len(after) == len(before)


# --- Augmentation, measured against the sentences of config.yaml


def augmented(images, seed=1, **changes):
    """Return (n, size, size, 3) float images after the layers for OFF with `changes`, as training changes them."""
    x = images.astype(np.float32)
    for layer in networks.augmentation_layers(OFF | changes, seed):
        x = layer(x, training=True)
    return np.asarray(x)


def corner(size=8):
    """Return an image dark but for one corner, by which each of its mirror images is known."""
    image = np.zeros((size, size, 3), np.float32)
    image[:2, :2] = 200
    return image


CORNERS = {"as it is": (0, 0), "left-right": (0, -1), "top-bottom": (-1, 0), "both": (-1, -1)}


@pytest.mark.parametrize(
    "flip, allowed",
    [
        ("horizontal", {"as it is", "left-right"}),
        ("vertical", {"as it is", "top-bottom"}),
        ("horizontal_and_vertical", set(CORNERS)),
    ],
)
def test_flip_gives_each_direction_alike(flip, allowed):
    out = augmented(np.stack([corner()] * 800), flip=flip)
    counts = {name: int((out[:, row, column, 0] > 100).sum()) for name, (row, column) in CORNERS.items()}
    assert sum(counts.values()) == 800
    for name, count in counts.items():
        expected = 800 / len(allowed) if name in allowed else 0
        assert abs(count - expected) <= 5 * math.sqrt(expected)  # five standard deviations and more


def test_contrast_is_up_to_this_fraction_more_or_less():
    image = np.full((8, 8, 3), 100, np.float32)
    image[::2] = 140  # mean 120, 20 off it
    out = augmented(np.stack([image] * 1000), contrast=0.3)
    factors = (out[:, 0, 0, 0] - out[:, 1, 0, 0]) / 40
    assert 0.7 <= factors.min() < 0.72 and 1.28 < factors.max() <= 1.3
    assert abs(factors.mean() - 1) < 0.03
    assert abs((factors < 1).mean() - 0.5) < 0.1
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), 120, atol=0.01)  # no brighter


def test_brightness_goes_to_the_ends_of_the_range_and_no_further():
    ends = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 255)] * 200).astype(np.float32)
    out = augmented(ends, brightness=0.2)
    assert out.min() == 0 and out.max() == 255


def test_brightness_is_up_to_this_fraction_of_the_full_range_either_way():
    out = augmented(np.full((1000, 8, 8, 3), 128, np.float32), brightness=0.2)
    shifts = out[:, 0, 0, 0] - 128
    assert -51 <= shifts.min() < -48 and 48 < shifts.max() <= 51
    assert abs(shifts.mean()) < 5
    assert (out == out[:, :1, :1, :1]).all()


def moments(image):
    """Return centre (row, column) and mean squared distance from it of what is bright in (size, size)."""
    rows, columns = np.indices(image.shape)
    mass = image.sum()
    row, column = (rows * image).sum() / mass, (columns * image).sum() / mass
    return (
        row,
        column,
        ((rows - row) ** 2 * image).sum() / mass + ((columns - column) ** 2 * image).sum() / mass,
    )


def test_zoom_is_up_to_this_fraction_nearer_or_farther_and_keeps_the_shape():
    image = np.zeros((64, 64, 3), np.float32)
    image[26:38, 26:38] = 255
    out = augmented(np.stack([image] * 400), zoom=0.2)[..., 0]
    whole = moments(image[..., 0])[2]
    sides = np.sqrt([moments(one)[2] / whole for one in out])
    # A factor f of the coordinates makes things 1 / f as large: 1 / 1.2 to 1 / 0.8.
    assert 1 / 1.2 - 0.03 <= sides.min() < 0.87 and 1.19 < sides.max() <= 1 / 0.8 + 0.03
    assert 0.35 < (sides > 1).mean() < 0.65
    for one in out[:50]:
        bright = one > 128
        assert abs(int(bright.any(axis=0).sum()) - int(bright.any(axis=1).sum())) <= 1


def test_rotation_is_up_to_this_fraction_of_a_full_turn_either_way():
    image = np.zeros((65, 65, 3), np.float32)
    image[30:35, 48:53] = 255  # right of the middle
    out = augmented(np.stack([image] * 400), rotation=0.1)[..., 0]
    angles = []
    for one in out:
        row, column, _ = moments(one)
        angles.append(math.degrees(math.atan2(32 - row, column - 32)))
    assert -37 <= min(angles) < -33 and 33 < max(angles) <= 37
    assert abs(np.mean(angles)) < 4


def test_each_image_is_changed_for_itself_and_anew_each_time():
    images = np.stack([corner(16)] * 20)
    layers = networks.augmentation_layers(
        {"flip": "horizontal", "rotation": 0.1, "zoom": 0.2, "brightness": 0.2, "contrast": 0.3}, 1
    )
    assert [layer.name for layer in layers] == [
        "random_flip",
        "random_rotation",
        "random_zoom",
        "random_brightness",
        "random_contrast",
    ]
    for layer in layers[1:]:
        once, again = np.asarray(layer(images, training=True)), np.asarray(layer(images, training=True))
        assert len({one.tobytes() for one in once}) > 15
        assert (once != again).any()
        np.testing.assert_array_equal(np.asarray(layer(images, training=False)), images)


def test_what_is_off_is_not_there():
    assert networks.augmentation_layers(OFF, 1) == []


def test_the_two_flips_have_seeds_and_names_of_their_own():
    first, second = networks.augmentation_layers(OFF | {"flip": "horizontal_and_vertical"}, 7)
    assert (first.name, first.mode) == ("random_flip", "horizontal")
    assert (second.name, second.mode) == ("random_flip_vertical", "vertical")
    assert first.seed != second.seed
    # One direction alone draws what it drew before the two had draws of their own.
    (only,) = networks.augmentation_layers(OFF | {"flip": "horizontal"}, 7)
    assert only.seed == first.seed == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"flip": "horizontal", "rotation": 0.1},
        {"flip": "vertical", "rotation": 0.3},
        {"flip": "horizontal_and_vertical", "rotation": 0.5, "zoom": 0.2},
        {"rotation": 0.1},
        {"flip": "horizontal", "contrast": 0.3},
        {},
    ],
    ids=lambda changes: " ".join(map(str, changes)) or "none",
)
@pytest.mark.parametrize("compiled", [True, False])
def test_flips_and_rotation_in_one_transform_are_one_after_the_other(changes, compiled):
    networks.set_up(1, "float32", 1)
    small = SETTINGS | {"size": 9, "layers": 1}
    network, same = (networks.build_network(small, OFF | changes, 3, seed=4) for _ in range(2))
    images = np.random.default_rng(5).integers(0, 256, (40, 9, 9, 3)).astype(np.uint8)
    augment, apart = augment_in_one_pass(network, compiled), []
    for _ in range(3):  # each draws anew
        found = augment(images).numpy()
        expected = tf.cast(images, tf.float32)
        for layer in same.layers:
            if layer.name.startswith("random_"):
                expected = layer(expected, training=True)
        # What is interpolated at a place that was rounded otherwise differs by a part of the step between two pixels.
        assert np.abs(found - expected.numpy()).max() < 0.05
        apart.append(np.abs(found - images).max())
    assert (min(apart) > 50) == bool(changes)
    generators = [[v.numpy() for v in n.variables if "generator" in v.path] for n in (network, same)]
    assert len(generators[0]) >= len(changes) and all(map(np.array_equal, *generators))


# --- Every number at its limits


def limit(schema, end):
    """Return the lowest or highest number that a schema allows, by `end`, "lowest" or "highest"."""
    inside, outside, beyond = {
        "lowest": ("minimum", "exclusiveMinimum", math.inf),
        "highest": ("maximum", "exclusiveMaximum", -math.inf),
    }[end]
    if inside in schema:
        return schema[inside]
    return math.nextafter(schema[outside], beyond) if outside in schema else 1e308


@pytest.mark.parametrize("end", ["lowest", "highest"])
def test_numbers_at_their_limits_are_trained_with_and_crash_nothing(end, tmp_path):
    schema = yaml.safe_load((REPOSITORY / "rules/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    shared = schema["$defs"]
    keys = ("learning_rate", "l2", "dropout", "stddev")
    settings = SETTINGS | {key: limit(shared[key], end) for key in keys}
    seed = limit(shared["seed"], end)
    augmentation = {"flip": "horizontal_and_vertical"} | {
        key: limit(part, end)
        for key, part in schema["properties"]["augmentation"]["properties"].items()
        if key != "flip"
    }
    networks.set_up(1, "float32", seed)
    trainer = Trainer(networks.build_network(settings, augmentation, 3, seed), settings["learning_rate"])
    write_split(tmp_path, "train", 8)
    is_number = [
        bool(trainer.train_step(*batch))
        for batch in open_split(tmp_path, "train").batches(4)
        for _ in range(2)
    ]
    # A weight from N(0, 1e308) is infinite in float32: that diverges, and is told.
    assert is_number == [end == "lowest"] * 4


# --- Answers


def with_answers(folder, name, count):
    """A Split whose images have random shares of answers, and these."""
    images, labels = write_split(folder, name, count)
    shares = np.random.default_rng(5).dirichlet([1, 1, 1], count).astype(np.float32)
    return Split(folder / f"{name}.npy", folder / f"{name}.csv", WEIGHTS, shares), images, labels, shares


def test_the_loss_against_answers_is_that_of_each_label_by_its_share(tmp_path):
    split, images, labels, shares = with_answers(tmp_path, "train", 6)
    trainer = Trainer(networks.build_network(SETTINGS, OFF, 3, seed=3), 0.01, learns_answers=True)
    before = [weight.numpy().astype(float) for weight in trainer.weights]
    entropy = sum(shares[:, label] * numpy_entropy(before, images, np.full(6, label)) for label in range(3))
    batch = next(split.batches(6))
    trainer.validation_step(*batch)
    trainer.train_step(*batch)
    assert trainer.validation_metrics.results()[0] == pytest.approx(entropy.mean(), rel=1e-5)
    # Weights and accuracy are of the labels.
    loss, accuracy = trainer.training_metrics.results()
    assert loss == pytest.approx((np.array(WEIGHTS)[labels] * entropy).mean(), rel=1e-5)
    assert accuracy == pytest.approx((numpy_logits(before, images).argmax(axis=1) == labels).mean())


def test_a_run_that_learns_answers_resumes_bit_for_bit(tmp_path):
    train_split, *_ = with_answers(tmp_path, "train", 14)
    validation, *_ = with_answers(tmp_path, "validation", 5)
    settings = SETTINGS | {"targets": "answers", "dropout": 0.5}

    def start():
        keras.utils.clear_session()  # names are counted up otherwise
        networks.set_up(1, "float32", 1)
        network = networks.build_network(settings, OFF | {"flip": "horizontal"}, 3, seed=3)
        return Training(Trainer(network, 0.01, learns_answers=True), train_split, validation, settings, 3)

    def stop_at(training, epoch, step):
        def pause():
            if (training.epoch, training.step) == (epoch, step):
                raise KeyboardInterrupt

        return pause

    whole, stopped = start(), start()
    while not whole.complete:
        whole.run_epoch(lambda: None)
    with pytest.raises(KeyboardInterrupt):
        while True:
            stopped.run_epoch(stop_at(stopped, 1, 2))
    arrays, values = stopped.to_state()
    resumed = start()
    resumed.restore({name: array.copy() for name, array in arrays.items()}, json.loads(json.dumps(values)))
    while not resumed.complete:
        resumed.run_epoch(lambda: None)
    (one, facts), (other, others) = whole.to_state(), resumed.to_state()
    assert facts["history"] == others["history"] and len(facts["history"]) == 3
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
