"""The memory of this machine: what jobs may have together, and that Snakemake holds them to it."""

import os
import re
from types import SimpleNamespace

import psutil
import pytest
import yaml
from conftest import REPOSITORY, Study, save_images

from baton.study import gpus, memory
from baton.study.call import Call
from baton.study.cost import VALIDATED_TOGETHER, measure, memory_of_training
from baton.training.batches import VALIDATION_BATCH

GB = 10**9


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 16 GB free, whose control groups are files here; returns a function that writes them."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * GB, total=99 * GB))
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "OWN_CGROUP", tmp_path / "own")

    def write(own, **limits):
        (tmp_path / "own").write_text(own)
        for path, limit in limits.items():
            file = tmp_path / "cgroup" / path.replace("__", "/").replace("_max", ".max")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{limit}\n")

    return write


class TestOfThisMachine:
    def test_what_no_other_program_uses(self, machine):
        assert memory.of_this_machine() == 16_000

    def test_or_the_limit_of_the_control_group(self, machine):
        machine("0::/jobs/one\n", jobs__one__memory_max=4 * GB)
        assert memory.of_this_machine() == 4_000

    def test_or_of_a_group_around_it(self, machine):
        machine("0::/jobs/one\n", jobs__one__memory_max="max", jobs__memory_max=3 * GB)
        assert memory.of_this_machine() == 3_000

    def test_in_a_container_the_root_is_its_own_group(self, machine):
        machine("0::/docker/abc\n", memory_max=2 * GB)
        assert memory.of_this_machine() == 2_000

    def test_of_version_1(self, machine, tmp_path):
        machine("9:cpu:/\n4:memory:/slurm/job\n")
        place = tmp_path / "cgroup/memory/slurm/job"
        place.mkdir(parents=True)
        (place / "memory.limit_in_bytes").write_text(f"{5 * GB}\n")
        assert memory.of_this_machine() == 5_000

    def test_no_limit_is_none(self, machine, tmp_path):
        machine("0::/\n", memory_max="max")
        assert memory.of_this_machine() == 16_000
        machine("4:memory:/\n")
        (tmp_path / "cgroup/memory").mkdir()
        (tmp_path / "cgroup/memory/memory.limit_in_bytes").write_text("9223372036854771712\n")
        assert memory.of_this_machine() == 16_000


class TestCall:
    def make(self, given, nodes=None, module=False):
        resources = {name: SimpleNamespace(value=value) for name, value in given.items()}

        class Resources(dict):
            def __setitem__(self, name, value):
                super().__setitem__(name, SimpleNamespace(value=value))

        workflow = SimpleNamespace(
            global_resources=Resources(resources),
            resource_settings=SimpleNamespace(nodes=nodes),
            non_local_exec=nodes is not None,
            modifier=SimpleNamespace(is_main_snakefile=lambda: not module),
            rules=[],
            is_main_process=True,
        )
        runs = [
            SimpleNamespace(name=name, memory=needed, files=SimpleNamespace(model=f"{name}.keras"))
            for name, needed in (("small", 2_000), ("large", 7_000), ("done", 9_000))
        ]
        return Call(workflow, SimpleNamespace(runs=runs))

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch):
        for name in (gpus.GPUS, gpus.VISIBLE):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)

    def test_jobs_here_are_held_to_what_there_is(self, machine):
        machine("0::/\n", memory_max=6 * GB)
        call = self.make({})
        call.limit_jobs()
        assert call.workflow.global_resources["mem_mb"].value == 6_000

    def test_what_the_user_says_counts(self, machine):
        machine("0::/\n", memory_max=6 * GB)
        call = self.make({"mem_mb": 12_000})
        call.limit_jobs()
        assert call.workflow.global_resources["mem_mb"].value == 12_000

    def test_a_cluster_has_nodes_of_its_own(self, machine):
        call = self.make({}, nodes=4)
        call.limit_jobs()
        assert "mem_mb" not in call.workflow.global_resources

    def test_as_a_module_other_rules_keep_what_they_ask_for(self, machine):
        call = self.make({}, module=True)
        call.limit_jobs()
        assert call.workflow.global_resources == {} and call.limits() == {"mem_mb": None, "gpu": None}

    @pytest.mark.parametrize("how", [{"nodes": 3}, {"module": True}])
    def test_what_the_user_says_counts_there_too(self, machine, how):
        call = self.make({"mem_mb": 12_000, "gpu": 0}, **how)
        call.limit_jobs()
        assert call.limits() == {"mem_mb": 12_000, "gpu": 0}
        assert os.environ[gpus.VISIBLE] == ""

    def test_of_those_that_are_to_run_one_that_takes_more_is_named(self, machine, capsys):
        machine("0::/\n", memory_max=6 * GB)
        call = self.make({})
        call.limit_jobs()
        call.warn_of_large_jobs(
            [SimpleNamespace(output=["small.keras"]), SimpleNamespace(output=["large.keras"])]
        )
        said = capsys.readouterr().err
        assert said.startswith(
            "WARNING: large: training takes up to about 7.0 GB of memory, and there are 6.0 GB here."
        )
        call.warn_of_large_jobs([SimpleNamespace(output=["small.keras"])])
        assert capsys.readouterr().err == ""


def test_of_small_batches_validation_takes_more():
    """Its 64 images' first layer, before and after it is pooled: 4 and 1 bytes for each of 512 x 512 x 32 numbers."""
    net = {"size": 512, "kernels": 32, "kernel_size": 3, "layers": 5, "dense": 512}
    small, usual, large = (memory_of_training(net | {"batch_size": size}) for size in (1, 32, 64))
    assert small == memory_of_training(net | {"batch_size": 4}) < usual < large
    assert small - 1500 - 48e-6 * measure(net).weights == pytest.approx(64 * 512 * 512 * 32 * 5 / 1e6)
    activations = 32 * 512 * 512 * (1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16)
    assert usual - 1500 - 48e-6 * measure(net).weights == pytest.approx(12 * 32 * activations / 1e6)
    assert VALIDATED_TOGETHER == VALIDATION_BATCH


def test_a_model_that_takes_more_than_there_is_is_asked_for_all_of_it(tmp_path):
    net = {"kernels": 64, "kernel_size": 3, "layers": 1, "batch_size": 512}
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 1, "test": 1},
        "models": [
            net | {"name": "huge", "dense": 65536, "size": 2048},
            net | {"name": "small", "dense": 1, "size": 8},
        ],
    }
    study = Study(tmp_path, config)
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 4)
    said = study.run("--dry-run", "train", cores=16).output
    asked = {
        name: int(re.search(rf"rule train_{name}:(?:.*\n)*?.*mem_mb=(\d+)", said)[1])
        for name in ("huge", "small")
    }
    available = psutil.virtual_memory().available / 1e6
    assert asked["small"] < 2_000 < asked["huge"] <= 1.2 * available
    given = study.run("--dry-run", "train", "--resources", "mem_mb=1234", cores=16).output
    assert set(re.findall(r"rule train_huge:(?:.*\n)*?.*mem_mb=(\d+)", given)) == {"1234"}


def test_what_the_studys_models_ask_for_is_not_had_together_on_16_cores_with_16_gb(tmp_path):
    """Tiny models that ask for what those of the study do at 150 px, which for all six is 26 GB; they train, one or some at a time."""
    defaults = yaml.safe_load((REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
    asked = {
        model["name"]: round(memory_of_training(defaults["training"] | {"size": 150} | model))
        for model in defaults["models"]
    }
    assert sum(asked.values()) > 26_000 and max(asked.values()) < 16_000
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 1, "test": 1},
        "images": {"size": 8},
        "training": {"epochs": 1},
        "models": [{"name": name, "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1} for name in asked],
    }
    study = Study(tmp_path, config)
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 4)
    wanted = [f"train_{name}:mem_mb={megabytes}" for name, megabytes in asked.items()]
    said = study.run("train", "--resources", "mem_mb=16000", "--set-resources", *wanted, cores=16)
    together = said.trained_together()
    assert len(together) == 6
    assert max(sum(asked[name] for name in names) for names in together) <= 16_000
    assert max(map(len, together)) > 1


def test_images_are_decoded_on_no_more_cores_than_there_is_memory_for(tmp_path):
    net = {"name": "net", "kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1, "size": 8}
    config = {
        "data": {"source": "class_folders", "images": "photos"},
        "holdout": {"validation": 1, "test": 1},
        "models": [net],
    }
    study = Study(tmp_path, config)
    for colour in ("red", "green"):
        save_images(study / "photos" / colour, colour, 4)
    study.run("pack", "--resources", "mem_mb=1400", cores=4)
    for log in ("logs/inspect_images.log", "logs/pack_images/8px.log"):
        assert "decoding on 2 of 4 cores: there is memory for no more, 1400 MB" in study.read(log).decode()
