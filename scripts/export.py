"""Export a trained model for other programs, and check each export against it on test images."""

from pathlib import Path

import numpy as np

from baton import logs, networks
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


def main(model, test, folder, threads):
    """Write each format to `folder`. Raises UserError where one does not give the model's probabilities.

    The exports hold what prediction needs, in float32: no augmentation, no dropout.
    """
    networks.set_up(threads, "float32", seed=0)
    network = keras.saving.load_model(model, compile=False)
    lean = networks.for_prediction(network)
    images = np.load(test, mmap_mode="r")[:IMAGES].astype(np.float32)
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
        log.info("%s: probabilities differ by %.1e at most on %d test images", name, apart, len(images))


if __name__ == "__main__":
    logs.start(snakemake.log[0])
    main(snakemake.params.model, snakemake.params.test, snakemake.output.folder, snakemake.threads)
