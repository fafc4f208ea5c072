"""A study of six models on a Slurm of two nodes, interrupted in every way a cluster has, against a local one."""

import contextlib
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from cluster import Cluster, NoCluster, install
from conftest import REPOSITORY, Call, Study, result_of, same_arrays, save_images, saved_at, wait_until

import verify_resume

PROFILE = (
    "--workflow-profile",
    REPOSITORY / "profiles/slurm",
    "--slurm-init-seconds-before-status-checks",
    5,
)
# Seconds for which ended jobs are listed. `make soak` has Slurm's own 300; many clusters forget earlier.
MIN_JOB_AGE = int(os.environ.get("MIN_JOB_AGE", 60))
# Long enough to be interrupted once they are under way, which takes seconds.
MODELS = [
    {"name": name, "epochs": 1100} for name in ("time_limit", "scancel", "lost_node", "requeue", "killed")
]
MODELS += [{"name": "alone", "epochs": 50}]
ON_NODE = ("RUNNING", "COMPLETING")  # states of a job
# A model's name is no part of what it trains to: left alone, one of each length stands for all of it.
LEFT_ALONE = {model["epochs"]: model["name"] for model in MODELS}
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 4, "test": 4},
    "images": {"size": 10},
    "training": {"batch_size": 8, "precision": "float32"},
    "models": [{"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 2} | model for model in MODELS],
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster; the tests are skipped where Slurm cannot be installed."""
    try:
        install()
    except NoCluster as reason:
        pytest.skip(f"no Slurm here: {reason}")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), min_job_age=MIN_JOB_AGE)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Interruptions:
    """What is done to each model's first job, once it is under way."""

    def __init__(self, study, cluster):
        self.study, self.cluster = study, cluster
        self.pending = {model["name"] for model in MODELS} - {"alone"}
        self.jobs = {}  # model: the job that was interrupted
        self.requeued = set()  # ids of jobs that Slurm puts back in the queue
        self.lost = None  # id of the job whose node was lost
        self.held = {}  # model: its training run, which is stopped until Slurm has done what it takes a minute for
        self.seen = {}
        self.sent = {}  # every job that was ever listed, by id

    def look(self):
        """Return the jobs that are listed now, and remember them."""
        jobs = self.cluster.jobs()
        self.sent |= {job["id"]: job for job in jobs}
        return jobs

    def go_on(self):
        """Do what is due now; return whether all is done."""
        jobs = self.look()
        for job in jobs:
            model = next((name for name in self.pending if f"train_{name}" in job["name"]), None)
            if model and job["state"] == "RUNNING" and self._is_under_way(model):
                if model == "lost_node" and not self._is_alone(job, jobs):
                    continue
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
                self._release("lost_node")
                self.cluster.start_node(self.jobs["lost_node"]["node"])
                self.cluster.run(f"scontrol update NodeName={self.jobs['lost_node']['node']} State=RESUME")
                self.lost = None
        if "time_limit" in self.held and self._is_warned("time_limit"):
            self._release("time_limit")
        return not self.pending and not self.requeued and not self.lost and not self.held

    def _is_under_way(self, model):
        """Whether a training run has saved twice, or is through a third of its epochs: where saving is slow it seldom saves."""
        times = self.seen.setdefault(model, {0})
        times.add(saved_at(self.study / "state", f"{model}/seed_1"))
        log = self.study / f"logs/train/{model}/seed_1.log"
        return len(times) > 2 or (log.exists() and b" epoch 350 of " in log.read_bytes())

    def _time_limit(self, job):
        self.cluster.run(f"scontrol update JobId={job['id']} TimeLimit=1")
        self._hold("time_limit", job)

    def _scancel(self, job):
        self._end(job, "scancel")

    def _requeue(self, job):
        self._end(job, "scontrol requeue")
        self.requeued.add(job["id"])

    def _killed(self, job):
        self._training(job).kill()

    def _is_alone(self, job, jobs):
        """Whether no other job runs on the node of this one, which waits until then: they would be lost with it."""
        if "lost_node" not in self.held:
            self._hold("lost_node", job)
            self.cluster.run(f"scontrol update NodeName={job['node']} State=DRAIN Reason=test")
        on_node = [
            other["id"] for other in jobs if other["node"] == job["node"] and other["state"] in ON_NODE
        ]
        return on_node == [job["id"]]

    def _lost_node(self, job):
        self.cluster.kill_node(job["node"])
        self.requeued.add(job["id"])
        self.lost = job["id"]

    def _training(self, job):
        """Return the training run of a job."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if process.environ().get("SLURM_JOB_ID") == job["id"] and words[-1].endswith("train.py"):
                    return process
        raise AssertionError(f"no training run in {job}")

    def _end(self, job, command):
        """Have Slurm end a job by a command of its own."""
        # Where no signal of Slurm's reaches it, it trains on until the kill, which is 20 s later: time enough to be done.
        self._training(job).suspend()
        self.cluster.run(f"{command} {job['id']}")

    def _hold(self, model, job):
        """Stop a training run, which takes no time of the processor then and is not through too early."""
        self.held[model] = self._training(job)
        self.held[model].suspend()

    def _release(self, model):
        with contextlib.suppress(psutil.NoSuchProcess):
            self.held.pop(model).resume()

    def _is_warned(self, model):
        """Whether a signal that ends a training run waits for it, or has ended it."""
        try:
            lines = Path(f"/proc/{self.held[model].pid}/status").read_text().splitlines()
        except FileNotFoundError:
            return True
        status = dict(line.split(":\t", 1) for line in lines)
        waiting = int(status["ShdPnd"], 16) | int(status["SigPnd"], 16)
        return any(waiting >> number - 1 & 1 for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGUSR1))


@pytest.fixture(scope="module")
def story(cluster, tmp_path_factory):
    """The study on the cluster with its interruptions, and the same one here, left alone."""
    studies = {}
    local = [model for model in CONFIG["models"] if model["name"] in LEFT_ALONE.values()]
    for name, config in (("cluster", CONFIG), ("local", CONFIG | {"models": local})):
        studies[name] = Study(tmp_path_factory.mktemp(name), config)
        save_images(studies[name] / "photos/red", "red", 24)
        save_images(studies[name] / "photos/green", "green", 16)
    with (
        ThreadPoolExecutor(1) as beside,
        Call(studies["cluster"], *PROFILE, cores=2, environment=cluster.environment) as call,
    ):
        local = beside.submit(studies["local"].run, "train")
        interruptions = Interruptions(studies["cluster"], cluster)

        # Each look asks Slurm for its jobs, which takes the processor that they need.
        def ended_or(done):
            return lambda: done() or call.process.poll() is not None

        wait_until(ended_or(interruptions.go_on), "all interruptions", pause=0.1)
        wait_until(ended_or(lambda: interruptions.look() is None), "the study", pause=0.5)
        ended = call.end()
        assert ended.code == 0, ended.output
        local.result()
        jobs = sorted(interruptions.sent.values(), key=lambda job: int(job["id"]))
    return SimpleNamespace(**studies, printed=ended.output, interrupted=interruptions, jobs=jobs)


@pytest.mark.parametrize("model", [model["name"] for model in MODELS])
def test_study_on_the_cluster_is_the_local_one_bit_for_bit(story, model):
    found = result_of(story.cluster, f"{model}/seed_1")
    expected = result_of(story.local, f"{LEFT_ALONE[found.summary['epochs']]}/seed_1")
    assert verify_resume.first_difference(expected.state, found.state) is None
    assert found.history == expected.history
    assert same_arrays(found.weights, expected.weights)
    assert len(expected.summary["sessions"]) == 1


def sessions_of(story, model):
    return story.cluster.json(f"models/{model}/seed_1/training.json")["sessions"]


def test_every_interruption_met_a_training(story):
    assert story.interrupted.pending == set()
    # Of the lost node's two training runs the first may have come to its end before the daemon was back.
    for model in set(story.interrupted.jobs) - {"lost_node"}:
        sessions = sessions_of(story, model)
        assert len(sessions) == 2, model
        assert sessions[1]["from"] != [0, 0], model
    assert len(sessions_of(story, "alone")) == 1


def test_training_is_warned_before_its_time_limit_and_saves(story):
    first, second = sessions_of(story, "time_limit")
    # Without cgroups Slurm's own warning reaches the training run as well.
    assert first["reason"] in ("it received SIGTERM", "it received SIGUSR2")
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
    assert asked["time_limit"] == [first, first]


def test_one_job_a_model_and_two_for_the_data(story):
    # Slurm itself puts two of the five back in the queue.
    assert len(re.findall(r"SLURM jobid \d+", story.printed)) == 2 + len(MODELS) + 3 + 1
    assert "rule_pack_images" in story.printed
    assert "group_data_" in story.printed and "rule_write_report" in story.printed
