"""GPUs: counted from a simulated driver, and one to a training run. None is here: what TensorFlow does is not shown."""

import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, Outcome, Study, save_images

from baton.errors import SessionEnded
from baton.study import gpus
from baton.study.call import Call
from baton.study.gpus import announce, announced, list_gpus
from baton.training import gpus as training_gpus
from baton.training.gpus import take_gpus

UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3", "GPU-dddd-4"]


def driver_of(*names):
    """Return a program that answers as the driver of a machine with GPUs of these names does."""
    rows = zip(range(len(names)), UUIDS, names, strict=False)
    return "#!/bin/sh\n" + "".join(f"echo '{number}, {uuid}, {name}'\n" for number, uuid, name in rows)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (gpus.GPUS, gpus.VISIBLE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program that answers as the driver of a machine with four GPUs does; returns its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(driver_of(*["NVIDIA A100-SXM4-40GB"] * 4))
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize(("name", "found"), [("libcudnn.so.9", True), ("libcudart.so.12", False)])
def test_what_tensorflow_needs_may_come_by_the_linkers_path(tmp_path, monkeypatch, name, found):
    monkeypatch.setattr(gpus.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(gpus.ctypes.util, "find_library", lambda name: None)
    (tmp_path / name).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'gone'}:{tmp_path}:")
    assert gpus.has_cuda() == found


class TestCount:
    def test_without_a_driver_there_are_none(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        assert list_gpus() == []

    def test_a_driver_that_fails_has_none(self, driver):
        (driver / "nvidia-smi").write_text(
            "#!/bin/sh\necho 'NVIDIA-SMI has failed, no devices were found'\nexit 9\n"
        )
        assert list_gpus() == []

    @pytest.mark.parametrize(
        ("visible", "places"),
        [
            (None, [0, 1, 2, 3]),
            ("2,0", [2, 0]),
            ("GPU-cccc", [2]),
            ("GPU-aa", []),  # two begin so
            ("1,9,2", [1]),
            ("", []),
            ("-1", []),
            ("NoDevFiles", []),
            ("0,0,1", [0, 1]),
        ],
    )
    def test_those_that_the_environment_lets_a_process_see(self, driver, monkeypatch, visible, places):
        if visible is not None:
            monkeypatch.setenv(gpus.VISIBLE, visible)
        assert list_gpus() == [UUIDS[place] for place in places]

    def test_a_part_of_a_gpu_counts_as_one(self, driver, monkeypatch):
        monkeypatch.setenv(gpus.VISIBLE, "MIG-1,MIG-2")
        assert list_gpus() == ["MIG-1", "MIG-2"]

    @pytest.mark.parametrize(
        ("visible", "order", "said"),
        [
            ("1", None, ["CUDA_VISIBLE_DEVICES=1", "(1 is NVIDIA T4)"]),
            ("1,0", "FASTEST_FIRST", ["0 is NVIDIA A100, 1 is NVIDIA T4"]),
            ("1", "PCI_BUS_ID", []),
            ("9", None, []),
            ("GPU-aabb", None, []),
            (None, None, []),
        ],
    )
    def test_numbers_that_cuda_reads_otherwise(self, driver, monkeypatch, visible, order, said):
        monkeypatch.delenv(gpus.ORDER, raising=False)
        for name, value in {gpus.VISIBLE: visible, gpus.ORDER: order}.items():
            if value:
                monkeypatch.setenv(name, value)
        assert gpus.warn_of_numbers() is None, "where all GPUs are alike"
        (driver / "nvidia-smi").write_text(driver_of("NVIDIA A100", "NVIDIA T4"))
        warning = gpus.warn_of_numbers()
        assert (warning is not None) == bool(said) and all(part in warning for part in said)


class TestTake:
    @pytest.fixture(autouse=True)
    def locks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(training_gpus, "LOCKS", tmp_path)
        self.folder = tmp_path

    def never(self):
        raise AssertionError("it waited")

    def test_each_training_run_has_its_own(self):
        announce(UUIDS[:2])
        with take_gpus(1, self.never):
            assert os.environ[gpus.VISIBLE] == UUIDS[0]
            with take_gpus(1, self.never):
                assert os.environ[gpus.VISIBLE] == UUIDS[1]
            with take_gpus(1, self.never):
                assert os.environ[gpus.VISIBLE] == UUIDS[1], "it was given back"

    def test_where_all_are_taken_it_waits_until_one_is_free(self):
        announce(UUIDS[:1])
        first, waited = take_gpus(1, self.never), []
        first.__enter__()

        def pause(seconds):
            waited.append(seconds)
            if len(waited) == 3:
                first.__exit__(None, None, None)

        with take_gpus(1, lambda: None, pause):
            assert os.environ[gpus.VISIBLE] == UUIDS[0] and waited == [1, 1, 1]

    def test_and_ends_where_it_must_not_wait(self):
        announce(UUIDS[:1])

        def refuse():
            raise SessionEnded("the time is up")

        with take_gpus(1, self.never), pytest.raises(SessionEnded), take_gpus(1, refuse):
            pass

    def test_one_that_trains_on_two_takes_two_or_none(self):
        announce(UUIDS[:3])
        with take_gpus(2, self.never):
            assert os.environ[gpus.VISIBLE] == ",".join(UUIDS[:2])
            attempts = []

            def refuse():
                attempts.append(1)
                with take_gpus(1, self.never):  # the third is not held meanwhile
                    assert os.environ[gpus.VISIBLE] == UUIDS[2]
                raise SessionEnded("the time is up")

            with pytest.raises(SessionEnded), take_gpus(2, refuse):
                pass
            assert attempts == [1]

    def test_two_calls_of_snakemake_share_the_locks(self):
        """Another process, as the job of another call is: what it holds is free once it has ended, however it ends."""
        hold = (
            "import os, pathlib, sys\n"
            "from baton.training import gpus\n"
            "from baton.training.gpus import take_gpus\n"
            "gpus.LOCKS = pathlib.Path(sys.argv[1])\n"
            "with take_gpus(1, sys.exit): print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
        )
        announce(UUIDS[:2])
        command = [sys.executable, "-c", hold, str(self.folder)]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "scripts")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, **pipes) as other:
            assert other.stdout.readline() == f"{UUIDS[0]}\n"
            with take_gpus(1, self.never):
                assert os.environ[gpus.VISIBLE] == UUIDS[1]
            other.kill()
        with take_gpus(1, self.never):
            assert os.environ[gpus.VISIBLE] == UUIDS[0]

    def test_wherever_their_temporary_files_are(self, tmp_path):
        """A job's TMPDIR follows from the call of snakemake that started it."""
        program = "from baton.training.gpus import LOCKS; print(LOCKS)"
        found = set()
        for name in "ab":
            (tmp_path / name).mkdir()
            environment = os.environ | {
                "TMPDIR": str(tmp_path / name),
                "PYTHONPATH": str(REPOSITORY / "scripts"),
            }
            command = [sys.executable, "-c", program]
            found.add(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)
        assert found == {"/tmp\n"}

    @pytest.mark.parametrize(("found", "count"), [([], 1), ([], None), (UUIDS, None)])
    def test_without_gpus_or_where_no_number_is_asked_for_nothing_is_done(self, found, count):
        announce(found)
        with take_gpus(count, self.never):
            assert gpus.VISIBLE not in os.environ

    @pytest.mark.parametrize("found", [[], UUIDS])
    def test_one_that_asks_for_none_sees_none(self, found):
        announce(found)
        with take_gpus(1, self.never), take_gpus(0, self.never):
            assert os.environ[gpus.VISIBLE] == ""


@pytest.mark.parametrize(
    ("given", "cuda", "expected", "asked", "known"),
    [
        ({}, True, 4, [1, 2, None], UUIDS),
        ({"gpu": 2}, True, 2, [1, 2, None], UUIDS),
        ({"gpu": 9}, True, 4, [1, 2, None], UUIDS),
        ({"gpu": 0}, True, 0, [None, 2, None], []),
        # They train on the processor, as many as there are cores for, and wait for no GPU.
        ({}, False, None, [None, 2, None], []),
    ],
)
def test_no_more_run_at_a_time_than_there_are_unless_the_user_says_else(
    driver, monkeypatch, given, cuda, expected, asked, known
):
    monkeypatch.setattr(gpus, "has_cuda", lambda: cuda)

    class Resources(dict):
        def __setitem__(self, name, value):
            super().__setitem__(name, SimpleNamespace(value=value))

    resources = Resources()
    for name, value in given.items():
        resources[name] = value
    rules = [
        SimpleNamespace(output=["net.keras", "history.csv"], resources={"mem_mb": 5}),
        SimpleNamespace(output=["large.keras"], resources={"gpu": 2}),  # --set-resources
        SimpleNamespace(output=["metrics.json"], resources={}),
    ]
    workflow = SimpleNamespace(
        global_resources=resources,
        resource_settings=SimpleNamespace(nodes=None),
        rules=rules,
        is_main_process=True,
        modifier=SimpleNamespace(is_main_snakefile=lambda: True),
    )
    runs = [
        SimpleNamespace(name=name, files=SimpleNamespace(model=f"{name}.keras")) for name in ("net", "large")
    ]
    call = Call(workflow, SimpleNamespace(runs=runs))
    call.limit_jobs()
    assert (resources["gpu"].value if "gpu" in resources else None) == expected and announced() == known
    assert [rule.resources.get("gpu") for rule in rules] == asked
    assert call.limits()["gpu"] == expected, "for the plan"
    assert (os.environ.get(gpus.VISIBLE) == "") == (given == {"gpu": 0})


class TestInAStudy:
    """From the driver to the log of a training run, which trains on the processor: TensorFlow sees no simulated GPU."""

    MODELS = ("one", "two")

    @pytest.fixture
    def study(self, tmp_path):
        net = {"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
        config = {
            "data": {"source": "class_folders", "images": "photos"},
            "holdout": {"validation": 1, "test": 1},
            "images": {"size": 8},
            "training": {"epochs": 1},
            "models": [net | {"name": name} for name in self.MODELS],
        }
        study = Study(tmp_path / "study", config)
        for colour in ("red", "green"):
            save_images(study / "photos" / colour, colour, 4)
        return study

    @pytest.fixture
    def call(self, study, driver, tmp_path):
        """A function that runs snakemake on 16 cores, with what TensorFlow needs for GPUs, which is simulated as well."""
        (tmp_path / "simulated/nvidia/cudnn").mkdir(parents=True)

        def run(*arguments):
            environment = os.environ | {"PYTHONPATH": str(tmp_path / "simulated")}
            command = study.command(*arguments, cores=16)
            done = subprocess.run(command, cwd=study.folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return Outcome(0, done.stdout + done.stderr)

        return run

    def test_training_runs_alone_ask_for_one(self, study, call):
        said = call("--dry-run").output
        _, *parts = re.split(r"^ *(?:local)?rule (\w+):$", said, flags=re.MULTILINE)
        rules = [rule for rule, text in zip(parts[::2], parts[1::2], strict=True) if "gpu=1" in text]
        assert sorted(rules) == sorted(f"train_{name}" for name in self.MODELS) and said.count("gpu=") == 2
        assert "gpu=" not in study.run("--dry-run", cores=16).output, "without what TensorFlow needs"

    def test_how_numbers_are_read_is_said(self, study, call, driver, monkeypatch):
        (driver / "nvidia-smi").write_text(driver_of("NVIDIA A100", "NVIDIA T4"))
        monkeypatch.setenv(gpus.VISIBLE, "1")
        said = call("--dry-run").output
        assert said.count("WARNING: CUDA_VISIBLE_DEVICES=1 is read in the order") == 1

    def test_of_one_gpu_they_take_turns_and_say_that_tensorflow_does_not_see_it(self, study, call, driver):
        (driver / "nvidia-smi").write_text(driver_of("NVIDIA T4"))
        assert sorted(call("train").trained_together()) == sorted((name,) for name in self.MODELS)
        for name in self.MODELS:
            log = study.read(f"logs/train/{name}/seed_1.log").decode()
            assert f"training on {UUIDS[0]}\n" in log and "TensorFlow does not see it" in log

    def test_one_alone_is_kept_from_it(self, study, call):
        call("train", "--set-resources", "train_one:gpu=0")
        said = {name: study.read(f"logs/train/{name}/seed_1.log").decode() for name in self.MODELS}
        assert "asks for gpu: 0, and leaves the GPU of this machine alone" in said["one"]
        assert UUIDS[0] not in said["one"] and f"training on {UUIDS[0]}\n" in said["two"]

    def test_where_none_is_wanted_nothing_is_said(self, study, call):
        call("train_one", "--resources", "gpu=0")
        assert "GPU" not in study.read("logs/train/one/seed_1.log").decode()


class TestInstalling:
    """CUDA is installed where the driver shows a GPU, unless it is declined, and never elsewhere."""

    def commands_of_make(self, tmp_path, *words):
        for name in ("Makefile", "requirements.lock", "export.lock", "requirements.gpu.lock"):
            shutil.copy(REPOSITORY / name, tmp_path)
        (tmp_path / "tests").mkdir()
        shutil.copy(REPOSITORY / "tests/requirements.lock", tmp_path / "tests")
        command = ["make", "--dry-run", "run", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    @pytest.mark.parametrize(("words", "installed"), [([], True), (["GPU=0"], False)])
    def test_make_run_where_there_is_a_gpu(self, driver, tmp_path, words, installed):
        text = self.commands_of_make(tmp_path, *words)
        assert ("set_up.py .venv/gpu requirements.gpu.lock" in text) == installed
        assert ("GPU=0 leaves it out" in text) == installed
        assert ("snakemake --resources gpu=0" in text) != installed

    def test_make_run_where_there_is_none(self, driver, tmp_path):
        (driver / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
        text = self.commands_of_make(tmp_path)
        assert "requirements.lock" in text and "requirements.gpu.lock" not in text
        assert "--resources" not in text

    def cell_of_notebook(self, word):
        """Return the code of the first cell of the notebook that has this word."""
        cells = json.loads((REPOSITORY / "profiles/colab/baton.ipynb").read_text(encoding="utf-8"))["cells"]
        return next("".join(cell["source"]) for cell in cells if word in "".join(cell["source"]))

    @pytest.mark.parametrize("gpu", [True, False])
    def test_the_notebook_declines_it_for_training_too(self, tmp_path, gpu):
        commands = []
        there = {"BATON": tmp_path, "STUDY": tmp_path, "DRIVE": None, "GPU": gpu}
        there |= {
            "call": lambda *command: commands.append(list(map(str, command))) or 1,
            "check_drive": lambda: None,
        }
        exec(self.cell_of_notebook("def snakemake("), there)
        assert [command[-2:] == ["--resources", "gpu=0"] for command in commands] == [not gpu]

    @pytest.mark.parametrize(("gpu", "installed"), [(True, True), (False, False)])
    def test_the_notebook(self, driver, tmp_path, monkeypatch, capsys, gpu, installed):
        monkeypatch.syspath_prepend(str(tmp_path))
        code = self.cell_of_notebook("has_gpu")
        (tmp_path / ".venv").mkdir()
        (tmp_path / "Snakefile").touch()
        commands = []

        class Recorded:
            stdout = ()

            def __init__(self, command, **_options):
                commands.append(command)

            def wait(self):
                return 0

        monkeypatch.setattr(subprocess, "Popen", Recorded)
        monkeypatch.setattr(subprocess, "run", lambda *_words, **_options: SimpleNamespace(returncode=0))
        choices = {
            "BATON": tmp_path,
            "STUDY": tmp_path,
            "DRIVE": None,
            "DATA": None,
            "ADDRESS": "",
            "GPU": gpu,
        }
        for _ in range(2):  # the second time there is nothing to install
            exec(code, dict(choices))
        locks = [os.path.basename(command[-1]) for command in commands if "--require-hashes" in command]
        assert locks == ["requirements.lock"] + ["requirements.gpu.lock"] * installed
        assert ("There is a GPU" in capsys.readouterr().out) == installed
