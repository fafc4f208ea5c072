"""A study of six models on a Slurm of two nodes, interrupted in every way a cluster has, against a local one."""

import contextlib
import json
import re
import subprocess
from types import SimpleNamespace

import psutil
import pytest
from cluster import Cluster, NoCluster, install
from conftest import PATIENCE, REPOSITORY, Study, read_weights, same_arrays, save_images, wait_until

import verify_resume
from baton.state import NEWEST, load_state

PROFILE = (
    "--workflow-profile",
    REPOSITORY / "profiles/slurm",
    "--slurm-init-seconds-before-status-checks",
    5,
)
# Slurm looks for time limits twice a minute, and takes its time to give up a node: these have to train on meanwhile.
MODELS = [{"name": name, "epochs": 2500} for name in ("time_limit", "lost_node")]
MODELS += [{"name": name} for name in ("alone", "scancel", "requeue", "killed")]
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 4, "test": 4},
    "images": {"size": 10},
    "training": {"epochs": 600, "batch_size": 8, "precision": "float32"},
    "models": [{"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2} | model for model in MODELS],
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster; the tests are skipped where Slurm cannot be installed."""
    try:
        install()
    except NoCluster as reason:
        pytest.skip(f"no Slurm here: {reason}")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Call:
    """A call of snakemake in a study, in the background; dead after `with`."""

    def __init__(self, study, *arguments, environment=None, cores=2):
        self.output = open(study / "output.txt", "a+")  # noqa: SIM115
        command = study.command(*arguments, cores=cores)
        self.process = subprocess.Popen(
            command, cwd=study.folder, env=environment, stdout=self.output, stderr=self.output
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()
        self.output.close()

    def wait(self):
        """Wait for the end and return all that was printed; fail where it was not a good one."""
        code = self.process.wait(PATIENCE)
        self.output.seek(0)
        text = self.output.read()
        assert code == 0, text
        return text


class Interruptions:
    """What is done to each model's first job, once it has saved a state twice."""

    def __init__(self, study, cluster):
        self.study, self.cluster = study, cluster
        self.pending = {model["name"] for model in MODELS} - {"alone"}
        self.jobs = {}  # model: the job that was interrupted
        self.requeued = set()  # ids of jobs that Slurm puts back in the queue
        self.lost = None  # id of the job whose node was lost
        self.seen = {}

    def go_on(self):
        """Do what is due now; return whether all is done."""
        jobs = self.cluster.jobs()
        for job in jobs:
            model = next((name for name in self.pending if f"train_{name}" in job["name"]), None)
            if model and job["state"] == "RUNNING" and self._has_saved_twice(model):
                self.pending.remove(model)
                self.jobs[model] = job
                getattr(self, f"_{model}")(job)
        for job in jobs:
            if job["id"] in self.requeued and job["state"] == "PENDING":
                # Slurm holds a requeued job back for two minutes; not here.
                self.cluster.run(f"scontrol update JobId={job['id']} StartTime=now")
                self.requeued.remove(job["id"])
            if (
                job["id"] == self.lost
                and job["state"] == "RUNNING"
                and job["node"] != self.jobs["lost_node"]["node"]
            ):
                # The same training runs twice now, and one waits: the daemon, back again, ends the other.
                self.cluster.start_node(self.jobs["lost_node"]["node"])
                self.lost = None
        return not self.pending and not self.requeued and not self.lost

    def _has_saved_twice(self, model):
        found = list((self.study / f"state/{model}/seed_1").glob(f"*/{NEWEST}"))
        with contextlib.suppress(FileNotFoundError):  # between two renames
            times = self.seen.setdefault(model, set())
            times.update(path.stat().st_mtime_ns for path in found)
            return len(times) > 2
        return False

    def _time_limit(self, job):
        self.cluster.run(f"scontrol update JobId={job['id']} TimeLimit=1")

    def _scancel(self, job):
        self.cluster.run(f"scancel {job['id']}")

    def _requeue(self, job):
        self.cluster.run(f"scontrol requeue {job['id']}")
        self.requeued.add(job["id"])

    def _killed(self, job):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if process.environ().get("SLURM_JOB_ID") == job["id"] and words[-1].endswith("train.py"):
                    process.kill()

    def _lost_node(self, job):
        self.cluster.kill_node(job["node"])
        self.requeued.add(job["id"])
        self.lost = job["id"]


@pytest.fixture(scope="module")
def story(cluster, tmp_path_factory):
    """The study on the cluster with its interruptions, and the same one here, left alone."""
    studies = {}
    for name in ("cluster", "local"):
        studies[name] = Study(tmp_path_factory.mktemp(name), CONFIG)
        save_images(studies[name] / "photos/red", "red", 24)
        save_images(studies[name] / "photos/green", "green", 16)
    with (
        Call(studies["local"], "train", cores=2) as local,
        Call(studies["cluster"], *PROFILE, environment=cluster.environment) as call,
    ):
        interruptions = Interruptions(studies["cluster"], cluster)
        wait_until(lambda: interruptions.go_on() or call.process.poll() is not None, "all interruptions")
        printed = call.wait()
        local.wait()
        jobs = cluster.jobs()
    return SimpleNamespace(**studies, printed=printed, interrupted=interruptions, jobs=jobs)


def result_of(study, model):
    folder = study / f"state/{model}/seed_1"
    state = load_state(next(folder.glob(f"*/{NEWEST}")).parent)
    results = f"results/models/{model}/seed_1"
    return SimpleNamespace(
        state=state,
        history=study.read(f"{results}/history.csv"),
        weights=read_weights(study / f"{results}/model.keras"),
        sessions=json.loads(study.read(f"{results}/training.json"))["sessions"],
    )


@pytest.mark.parametrize("model", [model["name"] for model in MODELS])
def test_study_on_the_cluster_is_the_local_one_bit_for_bit(story, model):
    found, expected = result_of(story.cluster, model), result_of(story.local, model)
    assert verify_resume.first_difference(expected.state, found.state) is None
    assert found.history == expected.history
    assert same_arrays(found.weights, expected.weights)
    assert len(expected.sessions) == 1


def test_every_interruption_met_a_training(story):
    assert story.interrupted.pending == set()
    # Of the lost node's two trainings the first may have come to its end before the daemon was back.
    for model in set(story.interrupted.jobs) - {"lost_node"}:
        sessions = result_of(story.cluster, model).sessions
        assert len(sessions) == 2, model
        assert sessions[1]["from"] != [0, 0], model
    assert len(result_of(story.cluster, "alone").sessions) == 1


def test_training_is_warned_before_its_time_limit_and_saves(story):
    first, second = result_of(story.cluster, "time_limit").sessions
    # Without cgroups Slurm's own warning reaches the training as well.
    assert first["reason"] in ("it got SIGTERM", "it got SIGUSR2")
    assert second["from"] == first["to"]


def test_more_memory_is_asked_for_after_a_kill_without_a_warning(story):
    asked = {
        model["name"]: [
            int(job["memory"].rstrip("M")) for job in story.jobs if f"train_{model['name']}" in job["name"]
        ]
        for model in MODELS
    }
    (first,) = asked["alone"]
    assert asked["killed"] == [first, pytest.approx(2 * first, abs=1)]
    for warned in ("time_limit", "scancel"):
        assert asked[warned] == [first, first]


def test_one_job_a_model_and_one_for_the_data(story):
    # Slurm itself puts two of the five back in the queue.
    assert len(re.findall(r"SLURM jobid \d+", story.printed)) == 1 + len(MODELS) + 3 + 1
    assert "group_data_" in story.printed and "rule_write_report" in story.printed
