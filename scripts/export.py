"""Export a trained model for other programs, and check each export against it on test images."""

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from baton import console
from baton.console import log
from baton.errors import UserError
from baton.files import write_json
from baton.study.finished import read_training
from baton.training import networks

FACTS = "baton.json"  # the file with what an export says of its model
IMAGES = 64  # of the test split, for the check
TOLERANCE = 1e-4  # between probabilities in float32, from another order of summing


def run_saved_model(path, images):
    import tensorflow as tf  # after networks, which has it take its kernels

    loaded = tf.saved_model.load(path)
    return loaded.serve(images).numpy()


def run_onnx(path, images):
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_tflite(path, images):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


class Format(NamedTuple):
    """A format: its name in Keras, the packages of the extra `export` that it needs, what runs and what labels it."""

    keras: str
    packages: tuple[str, ...]
    run: Callable
    label: Callable


# --- Class names, so that a file handed on explains itself


def label_saved_model(path, facts):
    """Write the facts into assets.extra, the folder of a SavedModel for what its user adds."""
    Path(path, "assets.extra").mkdir()
    write_json(Path(path, "assets.extra", FACTS), facts, ensure_ascii=False)


def label_onnx(path, facts):
    """Write the facts into the model's metadata, each as JSON but for text."""
    import onnx

    model = onnx.load(path)
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, path)


def label_tflite(path, facts):
    """Append the facts as a ZIP archive, in which TensorFlow Lite's metadata has a model's files (`unzip model.tflite`)."""
    with zipfile.ZipFile(path, "a") as archive:
        labels = "".join(f"{' '.join(label.splitlines())}\n" for label in facts.get("classes", []))
        archive.writestr(zipfile.ZipInfo("labels.txt"), labels)
        archive.writestr(zipfile.ZipInfo(FACTS), json.dumps(facts, ensure_ascii=False, indent=2))


FORMATS = {
    "saved_model": Format("tf_saved_model", (), run_saved_model, label_saved_model),
    "model.onnx": Format("onnx", ("tf2onnx", "onnx", "onnxruntime"), run_onnx, label_onnx),
    "model.tflite": Format("litert", ("ai_edge_litert",), run_tflite, label_tflite),
}


def images_for(network, test):
    """Return the images that exports are checked on, float32: test images of the network's size, else noise."""
    size = network.input.shape[1]
    with contextlib.suppress(OSError, ValueError):
        images = np.load(test, mmap_mode="r")[:IMAGES]
        if images.shape[1:] == (size, size, 3):
            return images.astype(np.float32)
    log.info("there are no test images of %d px: the exports are checked on noise", size)
    return np.random.default_rng(1).integers(0, 256, (IMAGES, size, size, 3)).astype(np.float32)


def describe_model(network, name, classes):
    """Return what an export says of its model: its classes in the order of its outputs, and what it takes.

    classes: names, None where an earlier version of Baton did not note them.
    """
    size = network.input.shape[1]
    facts = {
        "name": name,
        "input": f"RGB, {size} x {size}, 0 to 255, float32",
        "output": "the probability of each class",
        "made_by": "Baton",
    }
    # Names of folders may hold bytes that are no text.
    known = classes and [label.encode("utf-8", "replace").decode() for label in classes]
    return facts | ({"classes": known} if known else {})


def export(network, name, folder, images, expected, facts):
    """Write one of the FORMATS to `folder` and check it; raises UserError where it cannot be had, and leaves nothing.

    expected: the probabilities that the network gives for the images, (n, classes); facts: of the model, for its metadata.
    """
    wanted, path = FORMATS[name], Path(folder, name)
    missing = [package for package in wanted.packages if find_spec(package) is None]
    if missing:
        raise UserError(
            f"it needs {', '.join(missing)}: pip install --requirement export.lock, in Baton's folder."
        )
    try:
        network.export(str(path), format=wanted.keras, verbose=False)
        wanted.label(path, facts)
        difference = np.abs(expected - wanted.run(str(path), images)).max()
        if not difference <= TOLERANCE:
            raise UserError(
                f"its probabilities differ from the model's by {difference:.1e}. Please report this."
            )
    except UserError:
        remove(path)
        raise
    except (
        Exception
    ) as error:  # of a converter that other people write: whatever it is, the other formats are made
        remove(path)
        raise UserError(f"{type(error).__name__}: {error}") from error
    log.info("%s: probabilities differ by %.1e at most on %d images", name, difference, len(images))


def remove(path):
    """Remove the file or folder at `path`, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def main(model, test, folder, threads, settings, augmentation):
    """Write each format to `folder`; of one that cannot be had, say so. Raises UserError where none can.

    model: its file, with training.json beside it; test: the packed test images; settings, augmentation: the model's,
    by the config. The exports hold what prediction needs, in float32: no augmentation, no dropout.
    """
    networks.set_up(threads, "float32", seed=0)
    classes, changes = read_training(os.path.dirname(model), settings, augmentation)
    console.warn_of_other_training(changes)
    network = networks.load(model)
    facts = describe_model(network, settings["name"], classes)
    if "classes" not in facts:
        log.warning(
            "an earlier version of Baton trained the model and did not note its classes: no export names them"
        )
    lean = networks.for_prediction(network)
    images = images_for(network, test)
    expected = networks.predict(lean, images)
    difference = np.abs(expected - networks.predict(network, images)).max()
    log.info("float32 against the model's own precision: probabilities differ by %.1e at most", difference)
    Path(folder).mkdir(parents=True, exist_ok=True)
    failed = {}
    for name in FORMATS:
        try:
            export(lean, name, folder, images, expected, facts)
        except UserError as error:
            failed[name] = error
            log.warning("%s is not exported: %s", name, error)
    if len(failed) == len(FORMATS):
        raise UserError("no format could be exported; the reasons are above.")
    if failed:
        log.warning(
            "without %s; to export again, delete %s and run the same command", ", ".join(failed), folder
        )


if __name__ == "__main__":
    console.start(snakemake.log[0])
    used = {key: snakemake.params[key] for key in ("test", "settings", "augmentation")}
    model = snakemake.input.model or snakemake.params.model
    main(model, folder=snakemake.output.folder, threads=snakemake.threads, **used)
