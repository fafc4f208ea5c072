"""What only a real GPU can show: the same bits again, memory that grows, one training run to a GPU, and how long it idles.

`make test-gpu`. The project has had no GPU so far: on one, this has not been run.
"""

import json
import re
import shutil
import subprocess
import threading

import pytest
from conftest import EVERY_AUGMENTATION, Study, run_script, save_images

from baton.study.gpus import list_gpus

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not list_gpus(), reason="NVIDIA's driver shows no GPU here"),
]
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 8, "test": 8},
    "images": {"size": 64},
    "augmentation": EVERY_AUGMENTATION,
    "training": {"epochs": 8, "batch_size": 16},
    "models": [
        {"name": name, "kernels": 16, "kernel_size": 3, "dense": 64, "layers": 3} for name in ("one", "two")
    ],
}
# Three steps of a network with every augmentation, dropout and L2, twice from the same start; every bit of every variable.
STEPS = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
import numpy as np
from baton.training import networks
from baton.training.trainer import Trainer
import keras, tensorflow as tf

settings, augmentation, precision = json.load(sys.stdin)
images = np.random.default_rng(1).integers(0, 256, (3, 16, 64, 64, 3), np.uint8)
found = []
for _ in range(2):
    keras.utils.clear_session()
    networks.set_up(2, precision, seed=1)
    trainer = Trainer(networks.build_network(settings, augmentation, 4, seed=1), 0.001)
    for batch in images:
        trainer.train_step(batch, np.arange(16, dtype=np.int32) % 4, np.ones(16, np.float32))
    found.append({name: variable.numpy() for name, variable in trainer.variables().items()})
differ = [name for name in found[0] if found[0][name].tobytes() != found[1][name].tobytes()]
print(json.dumps({
    "devices": sorted({variable.device.rpartition("device:")[2] for variable in trainer.weights}),
    "growing": [tf.config.experimental.get_memory_growth(gpu) for gpu in tf.config.list_physical_devices("GPU")],
    "differ": differ,
}))
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("on_gpu"), CONFIG)
    for colour in ("red", "green", "blue", "yellow"):
        save_images(study / "photos" / colour, colour, 60)
    study.run("pack")
    return study


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_each_op_that_is_used_gives_the_same_bits_again(precision):
    """TensorFlow's op determinism refuses what has no such kernel: rotation, pooling, bias, cross-entropy, ..."""
    settings = CONFIG["models"][0] | {
        "size": 64,
        "l2": 0.001,
        "dropout": 0.5,
        "initializer": "normal",
        "stddev": 0.1,
    }
    done = run_script(STEPS, [settings, EVERY_AUGMENTATION, precision])
    assert done.code == 0, done.output
    found = json.loads(done.output.splitlines()[-1])
    assert found["devices"] == ["GPU:0"] and all(found["growing"])
    assert found["differ"] == []


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_kills_change_no_bit(study, precision):
    study.configure(CONFIG | {"training": CONFIG["training"] | {"precision": precision}})
    assert "equal, bit for bit" in study.run("verify_resume").output


def ask_driver(what):
    """Return what the driver says of each GPU: memory.used in MB, utilization.gpu in percent, ..."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    return [float(line) for line in subprocess.check_output(command, text=True).split()]


def strip_idle(shares):
    """Return the shares from the first to the last that is not 0."""
    at_work = [place for place, share in enumerate(shares) if share]
    return shares[at_work[0] : at_work[-1] + 1] if at_work else []


@pytest.mark.skipif(len(list_gpus()) < 2, reason="NVIDIA's driver shows one GPU here, and two are needed")
def test_two_gpus_train_one_model_with_the_same_bits_again(study):
    found = []
    for _ in range(2):
        study.run("train_one", "--set-resources", "train_one:gpu=2", "--forcerun", "train_one")
        shutil.rmtree(study / "results/models/one/seed_1/finished", ignore_errors=True)
        shutil.rmtree(study / "state")
        assert json.loads(study.read("results/models/one/seed_1/training.json"))["devices"] == 2
        found.append(study.read("results/models/one/seed_1/history.csv"))
    assert found[0] == found[1]


def test_one_training_run_to_a_gpu_which_keeps_memory_free(study, capsys):
    """For how much of the time it idles is printed: what is much depends on the models."""
    study.configure(CONFIG | {"training": CONFIG["training"] | {"epochs": 200}})
    ended, busy, used = threading.Event(), [], []

    def watch():
        while not ended.wait(0.5):
            busy.append(ask_driver("utilization.gpu"))
            used.append(max(ask_driver("memory.used")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        study.run("train", cores=8)
    finally:
        ended.set()
        watcher.join()
    sessions = []
    for name in ("one", "two"):
        (session,) = json.loads(study.read(f"results/models/{name}/seed_1/training.json"))["sessions"]
        (gpu,) = re.findall(r"training on (GPU-\S+)", study.read(f"logs/train/{name}/seed_1.log").decode())
        sessions.append((session["started"], session["ended"], gpu))
    (_, first_ended, first), (second_started, _, second) = sorted(sessions)
    assert second_started >= first_ended if first == second else len(list_gpus()) > 1
    shares = [strip_idle(shares) for shares in zip(*busy, strict=True)]
    assert any(shares), "no GPU was busy"
    with capsys.disabled():
        for mean in (sum(some) / len(some) for some in shares if some):
            print(f"\nfrom its first work to its last a GPU idles {100 - mean:.0f} % of the time")
    assert max(used) < 0.8 * max(ask_driver("memory.total"))
