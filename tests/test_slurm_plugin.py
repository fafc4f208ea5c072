"""What the Slurm plugin is taught: by its own code with answers made up, and by calls with stand-ins for Slurm's commands."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm
import yaml
from conftest import REPOSITORY, Study, copy_study, save_images

from baton.console import log_error, start
from baton.errors import MachineError, UserError, forget_mistakes
from baton.study import memory, slurm

INTERVAL = 15  # seconds before the first check, as the profile says


class Limiter:
    """Stands for what keeps Snakemake from asking a cluster too often."""

    async def __aenter__(self):
        pass

    async def __aexit__(self, *_):
        pass


@pytest.fixture
def plugin(monkeypatch):
    """The plugin's module; what is done to it is undone."""
    module = snakemake_executor_plugin_slurm
    for owner, name in [
        (module, "query_job_status"),
        (module, "get_min_job_age"),
        (module.Executor, "check_active_jobs"),
        (module.Executor, "report_job_error"),
    ]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(module, "is_query_tool_available", lambda tool: True)
    return module


class Checks:
    """Checks of jobs by the plugin's own code, against answers made up."""

    def __init__(self, plugin, monkeypatch, answer, age=300, taught=True):
        """answer: {job: state} of the cluster, or None for a query that fails; age: MinJobAge, None for closed."""
        self.answer, self.asked, self.failed, self.clock = answer, [], [], 1000.0

        async def query(command, logger):
            self.asked.append(command.split()[0])
            return (None, None) if self.answer is None else (self.answer, 0.1)

        monkeypatch.setattr(plugin, "query_job_status", query)
        monkeypatch.setattr(plugin, "get_min_job_age", lambda: age)
        monkeypatch.setattr(
            plugin.Executor,
            "report_job_error",
            lambda _, job, msg=None, **_more: self.failed.append((job, msg)),
        )
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        if taught:
            slurm.teach(plugin)
        self.executor = object.__new__(plugin.Executor)
        settings = SimpleNamespace(
            init_seconds_before_status_checks=INTERVAL,
            status_attempts=2,
            requeue=True,
            keep_successful_logs=True,
        )
        quiet = SimpleNamespace(**dict.fromkeys(("info", "debug", "warning"), lambda *_: None))
        vars(self.executor).update(
            workflow=SimpleNamespace(executor_settings=settings),
            logger=quiet,
            run_uuid="1",
            get_status_command=lambda: "squeue",
            _next_seconds_between_status_checks=INTERVAL,
            _status_query_calls=0,
            _status_query_failures=0,
            _status_query_total_seconds=0,
            _status_query_min_seconds=None,
            _status_query_max_seconds=0,
            _status_query_cycle_rows=[],
            _preemption_warning=False,
            _submitted_job_clusters=set(),
        )
        monkeypatch.setattr(plugin.Executor, "status_rate_limiter", Limiter(), raising=False)

    def check(self, *ids):
        """Check jobs and return the ids of those that are waited for still."""
        jobs = [
            SimpleNamespace(external_jobid=i, aux={}, job=SimpleNamespace(log=[], rule=None)) for i in ids
        ]

        async def collect():
            return [job.external_jobid async for job in self.executor.check_active_jobs(jobs)]

        return asyncio.run(collect())

    def failures(self):
        return [getattr(job, "external_jobid", None) for job, _ in self.failed]


class TestChecks:
    @pytest.mark.parametrize("age", [60, 20, None])
    def test_squeue_stays_the_command_where_ended_jobs_are_forgotten_early(self, plugin, monkeypatch, age):
        checks = Checks(plugin, monkeypatch, {"7": "CANCELLED"}, age=age)
        assert checks.check("7") == []
        assert checks.asked == ["squeue"] and checks.failures() == ["7"]

    def test_without_it_sacct_is_asked_and_not_understood(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, {"7": "CANCELLED by 1000"}, age=20, taught=False)
        assert checks.check("7") == ["7"] and checks.asked == ["sacct"]

    @pytest.mark.parametrize("state", ["CANCELLED by 1000", "CANCELLED+", "CANCELLED"])
    def test_who_cancelled_a_job_makes_no_difference(self, plugin, monkeypatch, state):
        checks = Checks(plugin, monkeypatch, {"7": state, "8": "RUNNING", "9": "PENDING"})
        assert checks.check("7", "8", "9") == ["8", "9"]
        assert checks.failures() == ["7"]

    def test_a_job_that_is_not_listed_any_more_has_failed_after_a_while(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, {"7": "RUNNING", "8": "RUNNING"})
        assert checks.check("7", "8") == ["7", "8"]
        checks.answer = {"8": "RUNNING"}
        checks.clock += 1000
        assert checks.check("7", "8") == ["7", "8"], "from now on it counts"
        checks.clock += slurm.FORGOTTEN_AFTER - 1
        assert checks.check("7", "8") == ["7", "8"] and checks.failures() == []
        checks.clock += 2
        assert checks.check("7", "8") == ["8"] and checks.failures() == ["7"]
        assert "not listed" in checks.failed[0][1]

    def test_a_job_that_is_listed_again_is_waited_for(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, {})
        for answer in ({}, {"7": "PENDING"}, {}):
            checks.answer = answer
            assert checks.check("7") == ["7"]
            checks.clock += slurm.FORGOTTEN_AFTER - 1
        assert checks.failures() == []

    def test_a_job_that_is_given_up_is_cancelled_first(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, {})
        monkeypatch.setattr(slurm.subprocess, "run", lambda command, **_: checks.failed.append((command, "")))
        assert checks.check("7") == ["7"]
        checks.clock += slurm.FORGOTTEN_AFTER + 1
        assert checks.check("7") == []
        assert checks.failed[0][0] == ["scancel", "7"] and checks.failures()[1:] == ["7"]

    def test_tasks_of_an_array_that_are_pending_are_listed(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, {"7_[1-5]": "PENDING"})
        for _ in range(3):
            assert checks.check("7_1", "7_2") == ["7_1", "7_2"]
            checks.clock += 2 * slurm.FORGOTTEN_AFTER

    def test_jobs_of_another_cluster_are_left_to_the_plugin(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, {}, age=20)
        checks.executor._submitted_job_clusters = {"other"}
        for _ in range(3):
            assert checks.check("7") == ["7"]
            checks.clock += 2 * slurm.FORGOTTEN_AFTER
        assert set(checks.asked) == {"sacct"}

    def test_while_no_query_is_answered_every_job_is_waited_for(self, plugin, monkeypatch):
        checks = Checks(plugin, monkeypatch, None)
        for _ in range(3):
            assert checks.check("7", "8") == ["7", "8"]
            checks.clock += 10 * slurm.FORGOTTEN_AFTER
        assert checks.failures() == []
        checks.answer = {"8": "RUNNING"}
        assert checks.check("7", "8") == ["7", "8"], "only now it begins to be missed"

    @pytest.mark.parametrize(
        ("age", "longest"), [(300, 100), (60, 20), (10, 5), (None, 60), (0, 180), (86400, 180)]
    )
    def test_ended_jobs_are_asked_for_before_they_are_forgotten(self, plugin, monkeypatch, age, longest):
        checks = Checks(plugin, monkeypatch, {"7": "RUNNING"}, age=age)
        for _ in range(30):
            checks.check("7")
        assert checks.executor.next_seconds_between_status_checks == longest


def test_a_plugin_of_another_make_is_left_alone():
    other = SimpleNamespace(Executor=object, query_job_status=None)
    before = vars(other).copy()
    assert slurm.teach(other) is False and vars(other) == before


class TestMistakes:
    """Which errors of a script keep its job from being submitted again."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / ".snakemake").mkdir()
        (tmp_path / "logs").mkdir()
        return tmp_path

    def end(self, error, log="logs/a.log"):
        start(log)
        with contextlib.suppress(type(error)):
            raise error
        log_error(type(error), error, None)

    def report(self, plugin, monkeypatch, *logs):
        """Report an error of a job with these logs, or of a group; return the rules' restarts after that."""
        reported = []
        monkeypatch.setattr(
            plugin.Executor, "report_job_error", lambda _, job, msg=None, **_more: reported.append(job)
        )
        slurm.teach(plugin)
        jobs = [SimpleNamespace(log=[log], rule=SimpleNamespace(restart_times=5)) for log in logs]
        job = jobs[0] if len(jobs) == 1 else SimpleNamespace(jobs=jobs)
        info = SimpleNamespace(job=job)
        plugin.Executor.report_job_error(object.__new__(plugin.Executor), info, msg="it failed")
        assert reported == [info]
        return [job.rule.restart_times for job in jobs]

    def test_a_mistake_is_not_tried_again(self, plugin, monkeypatch, folder):
        self.end(UserError("no column x"))
        assert self.report(plugin, monkeypatch, "logs/a.log") == [0]

    def test_nor_is_the_group_in_which_it_was_made(self, plugin, monkeypatch, folder):
        self.end(UserError("no column x"))
        assert self.report(plugin, monkeypatch, "logs/b.log", "logs/a.log") == [0, 0]

    @pytest.mark.parametrize("error", [MachineError("the disk is full"), OSError(28, "full"), KeyError("x")])
    def test_what_may_be_the_machines_is(self, plugin, monkeypatch, folder, error):
        self.end(error)
        assert self.report(plugin, monkeypatch, "logs/a.log") == [5]

    def test_a_mistake_counts_for_one_report_and_until_the_script_starts_again(
        self, plugin, monkeypatch, folder
    ):
        self.end(UserError("no column x"))
        assert self.report(plugin, monkeypatch, "logs/a.log") == [0]
        assert self.report(plugin, monkeypatch, "logs/a.log") == [5]
        self.end(UserError("no column x"))
        start("logs/a.log")
        assert self.report(plugin, monkeypatch, "logs/a.log") == [5]

    def test_those_of_an_earlier_call_are_forgotten(self, plugin, monkeypatch, folder):
        self.end(UserError("no column x"))
        forget_mistakes()
        assert self.report(plugin, monkeypatch, "logs/a.log") == [5]
        forget_mistakes()

    def test_outside_of_a_study_nothing_is_left(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        self.end(UserError("no column x"), "a.log")
        assert [path.name for path in tmp_path.iterdir()] == ["a.log"]


# --- Whole calls


COMMANDS = {
    # Notes what it is sent, and runs it; or, told so, refuses everything.
    "sbatch": """
import json, os, pathlib, subprocess, sys
place = pathlib.Path(os.environ["CLUSTER"])
with open(place / "sent", "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if (place / "closed").exists():
    sys.exit("closed")
number = len((place / "sent").read_text().splitlines())
command = next(word for word in sys.argv if word.startswith("--wrap=")).removeprefix("--wrap=")
output = sys.argv[sys.argv.index("--output") + 1].replace("%j", str(number))
with open(output, "w") as file:
    subprocess.Popen(
        ["sh", "-c", f"({command}); echo $? > {place}/ended.{number}"],
        stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"SLURM_JOB_ID": str(number)},
    )
print(number)
""",
    "squeue": """
import os, pathlib
place = pathlib.Path(os.environ["CLUSTER"])
for number in range(1, len((place / "sent").read_text().splitlines()) + 1):
    ended = place / f"ended.{number}"
    state = "RUNNING" if not ended.exists() else "COMPLETED" if ended.read_text() == "0\\n" else "FAILED"
    print(f"{number}|{state}")
""",
    "scontrol": "print('MinJobAge = 300 sec')",
    "sacct": "raise SystemExit('no accounting')",
    "sacctmgr": "raise SystemExit('no accounting')",
    "sinfo": "print('4000', '191000+', sep=chr(10))",
    "srun": """
import os, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    words.pop(0)
os.execvp(words[0], words)
""",
}


class Stand:
    """A study, and in the path of its calls stand-ins for Slurm's commands."""

    def __init__(self, folder, config):
        self.place, self.study = folder / "cluster", Study(folder / "study", config)
        (self.place / "bin").mkdir(parents=True)
        for name, code in COMMANDS.items():
            path = self.place / "bin" / name
            path.write_text(f"#!{sys.executable}\n{code}")
            path.chmod(0o755)
        self.environment = os.environ | {
            "CLUSTER": str(self.place),
            "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}",
            "SLURM_CONF": "none",
        }

    def run(self, *targets, **profile):
        """Run with the Slurm profile, but for the keys given, and return the outcome."""
        path = self.place / "profile/profile.yaml"
        path.parent.mkdir(exist_ok=True)
        text = (REPOSITORY / "profiles/slurm/profile.yaml").read_text(encoding="utf-8")
        quick = {"slurm-init-seconds-before-status-checks": 1}
        path.write_text(yaml.safe_dump(yaml.safe_load(text) | quick | profile))
        return self.study.try_run(
            *targets, "--workflow-profile", path.parent, cores=2, environment=self.environment
        )

    def sent(self):
        """Return what was sent to sbatch, each job as a list of words."""
        path = self.place / "sent"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


SHAPE = {"kernels": 2, "kernel_size": 3, "dense": 4, "layers": 1}
CONFIG = {
    "data": {"source": "class_folders", "images": "photos"},
    "holdout": {"validation": 2, "test": 2},
    "images": {"size": 8},
    "training": {"epochs": 1, "batch_size": 4, "precision": "float32"},
    "models": [{"name": "net", **SHAPE}],
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A study whose images are packed, to be copied."""
    study = stand(tmp_path_factory.mktemp("packed")).study
    study.run("pack", cores=2)
    return study


def stand(folder, packed=None, **more):
    """Return a Stand with images, or with all that `packed` has."""
    made = Stand(folder, CONFIG | more)
    if packed:
        copy_study(packed, made.study.folder, CONFIG | more)
    else:
        for label in ("red", "green"):
            save_images(made.study / f"photos/{label}", label, 8)
    return made


def option(words, name):
    """Return the value of an option, whether it is a word of its own or not; None where it is not there."""
    for place, word in enumerate(words):
        if word == name:
            return words[place + 1]
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def test_a_mistake_in_the_config_is_submitted_once(tmp_path):
    cluster = stand(tmp_path, holdout={"validation": 20, "test": 20})
    outcome = cluster.run()
    assert outcome.code != 0
    assert "holdout.validation" in outcome.output
    (job,) = cluster.sent()
    assert option(job, "-t") == "150"  # the data stages one after the other, without packing


def test_two_gpus_are_on_one_machine_and_a_report_is_no_job(packed, tmp_path):
    cluster = stand(tmp_path, packed)  # so that a training run is the first that is sent
    # What only reads runs here.
    assert cluster.run("report_now").code == 0 and cluster.sent() == []
    assert "No training run is finished yet" in (cluster.study / "results/report_now.html").read_text()
    (cluster.place / "closed").touch()
    profile = yaml.safe_load((REPOSITORY / "profiles/slurm/profile.yaml").read_text(encoding="utf-8"))
    cluster.run("train", retries=0, **{"default-resources": profile["default-resources"] | {"gpu": 2}})
    (job,) = cluster.sent()
    assert option(job, "--gpus") == "2" and option(job, "--nodes") == "1" and option(job, "-t") == "300"


def test_what_only_reads_runs_here(tmp_path):
    cluster = stand(tmp_path)
    outcome = cluster.run("status")
    assert outcome.code == 0 and "net: not begun" in outcome.output
    assert cluster.sent() == []


def test_what_a_job_says_is_printed_where_it_was_called(packed, tmp_path):
    cluster = stand(tmp_path, packed)
    outcome = cluster.run("plan")
    assert outcome.code == 0, outcome.output
    (job,) = cluster.sent()
    assert option(job, "-t") == "60" and int(option(job, "--mem")) > 1500
    _, said = outcome.output.split("logs/plan.log:\n", 1)
    assert "Models: 1; training runs: 1, " in said and "Packing the images takes up to" in said


def test_data_jobs_of_a_sweep_have_limits_of_their_own(tmp_path):
    cluster = stand(
        tmp_path,
        models=[],
        sweep=[{"name": "s", **SHAPE, "size": [8, 16, 24], "synthetic_fraction": [0, 0.1, 0.2]}],
    )
    outcome = cluster.study.run(
        "-n",
        "pack",
        "--workflow-profile",
        REPOSITORY / "profiles/slurm",
        cores=2,
        environment=cluster.environment,
    )
    packing = re.findall(r"rule pack_images:\n(?:.*\n)*?\s+resources: (.*)", outcome.output)
    assert [re.search(r"runtime=(\d+)", line)[1] for line in packing] == ["60"] * 9
    group = outcome.output.split("Group job ")[1].split("\n\n")[0]
    assert "pack_images" not in group


def test_limits_and_memory_of_the_data_jobs_grow_after_failures_but_not_without_end(packed, tmp_path):
    cluster = stand(tmp_path, packed)
    shutil.rmtree(cluster.study / "results/data/packed")
    (cluster.place / "closed").touch()
    cluster.run("pack")
    sent = [(int(option(job, "-t")), int(option(job, "--mem"))) for job in cluster.sent()]
    once = sent[0][1]
    assert [minutes for minutes, _ in sent] == [60, 120, 180, 240, 240, 240]
    assert [mem for _, mem in sent] == pytest.approx([once, 2 * once, *[4 * once] * 4], abs=4)


def test_memory_is_doubled_up_to_the_largest_node(tmp_path, monkeypatch):
    Stand(tmp_path, CONFIG)
    monkeypatch.setenv("PATH", f"{tmp_path / 'cluster/bin'}:{os.environ['PATH']}")
    slurm.largest_node.cache_clear()
    assert [memory.doubled(60_000, times) for times in (0, 1, 2, 3)] == [60_000, 120_000, 191_000, 191_000]
    # More than any node has cannot run; what is asked for tells the user so.
    assert memory.doubled(200_000, 2) == 200_000
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    slurm.largest_node.cache_clear()
    assert memory.doubled(60_000, 5) == 240_000
    slurm.largest_node.cache_clear()
