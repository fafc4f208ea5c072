"""Export a trained model for other programs, and check each export against it on test images."""

import contextlib
import os
from pathlib import Path

import numpy as np

from baton import logs, networks
from baton.finished import read_training
from baton.logs import UserError, log

# isort: split
import keras
import onnxruntime
import tensorflow as tf

FORMATS = {"saved_model": "tf_saved_model", "model.onnx": "onnx", "model.tflite": "litert"}
IMAGES = 64  # of the test split, for the check
TOLERANCE = 1e-4  # between probabilities in float32, from another order of summing


def run_saved_model(path, images):
    loaded = tf.saved_model.load(path)
    return loaded.serve(images).numpy()


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def run_tflite(path, images):
    interpreter = tf.lite.Interpreter(path)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


RUN = {"saved_model": run_saved_model, "model.onnx": run_onnx, "model.tflite": run_tflite}


def images_for(network, test):
    """Return the images that exports are checked on, float32: test images of the network's size, else noise."""
    size = network.input.shape[1]
    with contextlib.suppress(OSError, ValueError):
        images = np.load(test, mmap_mode="r")[:IMAGES]
        if images.shape[1:] == (size, size, 3):
            return images.astype(np.float32)
    log.info("there are no test images of %d px: the exports are checked on noise", size)
    return np.random.default_rng(1).integers(0, 256, (IMAGES, size, size, 3)).astype(np.float32)


def main(model, test, folder, threads, settings, augmentation):
    """Write each format to `folder`. Raises UserError where one does not give the model's probabilities.

    model: its file, with training.json beside it; test: the packed test images; settings, augmentation: the model's,
    by the config. The exports hold what prediction needs, in float32: no augmentation, no dropout.
    """
    networks.set_up(threads, "float32", seed=0)
    logs.warn_of_other_training(read_training(os.path.dirname(model), settings, augmentation)[1])
    network = keras.saving.load_model(model, compile=False)
    lean = networks.for_prediction(network)
    images = images_for(network, test)
    expected = networks.predict(lean, images)
    apart = np.abs(expected - networks.predict(network, images)).max()
    log.info("float32 against the model's own precision: probabilities differ by %.1e at most", apart)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, kind in FORMATS.items():
        path = str(Path(folder) / name)
        lean.export(path, format=kind, verbose=False)
        apart = np.abs(expected - RUN[name](path, images)).max()
        if not apart <= TOLERANCE:
            raise UserError(
                f"{path}: its probabilities differ from the model's by {apart:.1e}. Please report this."
            )
        log.info("%s: probabilities differ by %.1e at most on %d images", name, apart, len(images))


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    used = {key: snakemake.params[key] for key in ("test", "settings", "augmentation")}
    model = snakemake.input.model or snakemake.params.model
    main(model, folder=snakemake.output.folder, threads=snakemake.threads, **used)
