"""This call of snakemake: what it does before jobs start, and what it prints at the end."""

import atexit
import os
import sys
import time

from baton.errors import ConfigError, forget_mistakes, some
from baton.study import gpus, memory, slurm
from baton.study.answer import REPORT, describe_answer, describe_call, describe_program
from baton.study.finished import keep_what_is_there
from baton.study.lock import note_call, release_dead_lock
from baton.study.runs import WEIGHTS
from baton.study.scan import hand_on, remember
from baton.study.session import announce_end, announce_snakemake
from baton.study.signals import end_before_the_start, hand_on_the_end, hand_on_warnings
from baton.study.status import describe_progress, how_far
from baton.study.study import Study

BEGAN = time.monotonic()
# Logs of the jobs whose text is the result.
SHOWN = ("logs/plan.log", "logs/predict.log", "logs/verify_resume.log")
_begun: dict[int, "Call"] = {}  # the Call of a workflow, by its id


class Call:
    """A call of snakemake on a Study; workflow: Snakemake's. In a process for one job it is that job's."""

    def __init__(self, workflow, study: Study):
        self.workflow, self.study = workflow, study
        self.logs: list[str] = []  # of a cluster's jobs, to be shown
        self.last_lines: list[str] = []

    @property
    def program(self) -> str:
        """How Snakemake was called, with the Snakefile where that was named."""
        words = sys.argv[1:]
        named = next((place for place, word in enumerate(words) if word in ("-s", "--snakefile")), None)
        return " ".join([describe_program(), *(words[named : named + 2] if named is not None else [])])

    # --- The moments: when the Snakefile is read, before the first job, after the last

    def begin(self):
        """When the Snakefile is read, in every process."""
        if self.workflow.is_main_process:
            self.refuse_unused_names()
            self.limit_jobs()
            for note in self.study.notes:
                print(note, file=sys.stderr)
        announce_snakemake()
        hand_on_warnings()
        name = None
        if self.workflow.is_main_process and not self.workflow.dryrun:
            end_before_the_start()
            # After all that Snakemake itself prints; where nothing is to be done, it calls no handler.
            atexit.register(self.print_last_lines, os.getpid(), os.getcwd())
            name = note_call()
            hand_on(self.study.images_seen)
            for run in self.study.runs:
                # Before a rule that runs again deletes what an earlier version left.
                keep_what_is_there(run.files.models, run.packed.folder, WEIGHTS)
        release_dead_lock(name)

    def start(self):
        """When it is known what is to be done, before the first job. Exits where the config forbids it."""
        jobs = list(self.workflow.dag.needrun_jobs())
        try:
            self.refuse_fewer_epochs(jobs)
        except ConfigError as error:
            sys.exit(str(error))
        if any(job.rule.name.endswith("sort_into_classes") for job in jobs):
            remember(self.study.images_seen)
        # The jobs of a cluster have limits of their own, and no session; they resume where this call ends.
        announce_end(None if self.workflow.non_local_exec else self.seconds_left())
        self.warn_of_large_jobs(jobs)
        if self.workflow.non_local_exec:
            self.prepare_cluster(jobs)
        else:
            hand_on_the_end()

    def succeed(self):
        """When all is done: on a cluster, print the logs whose text is the result; there, the terminal is a file."""
        for path in self.logs:
            try:
                with open(path, encoding="utf-8", errors="backslashreplace") as file:
                    text = file.read()
            except OSError as error:
                text = f"cannot be read: {error.strerror}"
            print(f"{path}:", text, sep="\n", file=sys.stderr)

    def fail(self):
        """When a job failed or a session ended: of a call that was to train, how far it came."""
        outputs = {str(path) for job in self.workflow.dag.jobs for path in job.output}
        wanted = [run.files for run in self.study.runs if run.files.model in outputs]
        if any(os.path.exists(files.state) or os.path.exists(files.models) for files in wanted):
            self.last_lines = ["", *describe_progress(self.study, self.threads(), describe_call())]

    def print_last_lines(self, process, folder):
        """When this call ends: print how far each run is where it was cut, and the answer where the report is done.

        folder: the study's, which is not the current one any more.
        """
        if os.getpid() != process or self.workflow.dryrun:  # or a process forked from it
            return
        lines = self.last_lines
        if not lines and self.is_report_done():
            lines = describe_answer(folder)
        if lines:
            print(*lines, sep="\n", file=sys.stderr)

    # --- What they do

    def is_report_done(self):
        """Whether this call was to make the report, and nothing of that is left to be done."""
        dag = self.workflow.dag
        if dag is None or any(dag.needrun_jobs()):
            return False
        return any(REPORT in map(str, job.output) for job in dag.jobs)

    def refuse_unused_names(self):
        """Refuse `--config images=FOLDER` where no target takes it: it is no way to name the study's images."""
        takers = {"images": ("predict", "new_study"), "annotations": ("new_study",)}
        for key, targets in takers.items():
            path = self.study.named[key]
            # Snakemake does not know its targets yet.
            if path is not None and not set(targets) & set(sys.argv):
                raise ConfigError(
                    f"--config {key}={path}: only `snakemake {'` and `snakemake '.join(targets)}` "
                    f"take{'s' if len(targets) == 1 else ''} that. To name the study's {key}, write 'data={{{key}: {path}}}'."
                )

    def limit_jobs(self):
        """Have Snakemake start no more jobs at a time than memory and GPUs here are enough for, unless `--resources` says else.

        It lowers what a job asks for to what there is: one that asks for more memory runs alone. Not where the nodes of a
        cluster have theirs, nor as a module: there, other rules' jobs would be lowered as well. `--resources gpu=0` holds everywhere.
        """
        given = self.workflow.global_resources
        declined = "gpu" in given and not given["gpu"].value
        if declined:
            os.environ[gpus.VISIBLE] = ""
        if (
            self.workflow.resource_settings.nodes is not None
            or not self.workflow.modifier.is_main_snakefile()
        ):
            return
        if "mem_mb" not in given:
            given["mem_mb"] = memory.of_this_machine()
        found = [] if declined else gpus.usable_gpus()
        if not found:  # they train on the processor, each of which says so
            return
        if warning := gpus.warn_of_numbers():
            print(f"WARNING: {warning}", file=sys.stderr)
        gpus.announce(found)
        given["gpu"] = min(given["gpu"].value, len(found)) if "gpu" in given else len(found)
        for rule in self.rules_of_training().values():
            if "gpu" not in rule.resources:
                rule.resources["gpu"] = 1

    def limits(self):
        """Return the mem_mb and gpu that all jobs here share, None for no limit; a cluster's job knows nothing of others."""
        given = self.workflow.global_resources if self.workflow.is_main_process else {}
        return {name: given[name].value if name in given else None for name in ("mem_mb", "gpu")}

    def rules_of_training(self):
        """Return Snakemake's rule of each run, by the run's name; a module's user may have left some out."""
        rules = {str(path): rule for rule in self.workflow.rules for path in rule.output}
        return {run.name: rules[run.files.model] for run in self.study.runs if run.files.model in rules}

    def resources_of_training(self):
        """Return the threads, mem_mb and gpu that Snakemake gives each run, by its name, --set-threads and the like included.

        gpu: None where no number is asked for.
        """
        memory_of, given = {run.name: run.memory for run in self.study.runs}, {}
        for name, rule in self.rules_of_training().items():
            unneeded = set(rule.resources) - {"_cores", "mem_mb", "gpu"}
            found = rule.expand_resources({}, rule.expand_input({})[0], attempt=1, skip_evaluation=unneeded)
            given[name] = {
                "threads": found["_cores"],
                # Not asked for by a module's user, or not known yet where it follows from files that are not made.
                "mem_mb": needed if isinstance(needed := found.get("mem_mb"), int) else memory_of[name],
                "gpu": found.get("gpu"),
            }
        return given

    def warn_of_large_jobs(self, jobs):
        """Print which training runs take more memory than there is."""
        if self.workflow.non_local_exec:
            return
        if self.workflow.resource_settings.nodes is not None:
            print(
                "WARNING: with --jobs, memory and GPUs are not counted: they are with --cores alone.",
                file=sys.stderr,
            )
        most, outputs = self.limits()["mem_mb"], {str(path) for job in jobs for path in job.output}
        if most is None:
            return
        large = [run for run in self.study.runs if run.memory > most and run.files.model in outputs]
        if large:
            needed = max(run.memory for run in large)
            print(
                f"WARNING: {some(run.name for run in large)}: training takes up to about {needed / 1000:.1f} GB of memory, and "
                f"there are {most / 1000:.1f} GB here. It runs alone, and may be killed: a smaller batch_size or images.size "
                "takes less.",
                file=sys.stderr,
            )

    def seconds_left(self) -> float | None:
        """Return the seconds until the session ends, None for never."""
        minutes = self.study.config["session_minutes"]
        return None if minutes is None else BEGAN + 60 * minutes - time.monotonic()

    def cores(self) -> int | None:
        """Return how many cores a training run can have here, None where that is a cluster's choice."""
        return None if self.workflow.non_local_exec else self.workflow.cores or None

    def threads(self) -> dict[str, int | None]:
        """Return with how many threads each run trains here, by its name; None where that is a cluster's choice."""
        cores = self.cores()
        found = {run.name: run.threads_of(cores) for run in self.study.runs}
        if cores and self.workflow.resource_settings.overwrite_threads:  # --set-threads
            found |= {name: given["threads"] for name, given in self.resources_of_training().items()}
        return found

    def print_progress(self):
        """Print how far each run is."""
        print(*describe_progress(self.study, self.threads()), sep="\n", file=sys.stderr)

    def refuse_fewer_epochs(self, jobs):
        """Refuse, before Snakemake deletes anything, to train what is trained for more epochs than are asked for."""
        outputs, threads = {str(path) for job in jobs for path in job.output}, self.threads()
        for run in self.study.runs:
            if run.files.model not in outputs:
                continue
            status = how_far(run, self.study.data, threads[run.name])
            if not status.done and status.epoch > run.settings["epochs"]:
                raise ConfigError(
                    f"config: training.epochs: {run.name} is trained for {status.epoch} epochs and the config asks for "
                    f"{run.settings['epochs']}: training cannot be shortened. Set epochs to {status.epoch} or more, or "
                    f"move {run.files.state} and {run.files.models} away to train from the start. Nothing was changed."
                )

    def prepare_cluster(self, jobs):
        """Make up for what the Slurm plugin lacks, where it runs this call's jobs, and note the logs to show."""
        forget_mistakes()
        plugin = sys.modules.get("snakemake_executor_plugin_slurm")
        if plugin and not slurm.teach(plugin):
            print(
                "WARNING: this version of Snakemake's Slurm plugin is not the one that Baton knows (see "
                "requirements.lock): a job that the cluster forgets may be waited for without end, and mistakes in the "
                "config are submitted again.",
                file=sys.stderr,
            )
        self.logs = [str(log) for job in jobs for log in job.log if str(log) in SHOWN]


def begin_call(workflow, study: Study) -> Call:
    """Return the Call of this workflow, begun; once, however often the Snakefile is read.

    As a module of another workflow, it is read for each `use rule`, and Snakemake runs the handlers (onstart, onsuccess,
    onerror) of the main Snakefile only: there, Baton's are joined to them.
    """
    if id(workflow) not in _begun:
        call = _begun[id(workflow)] = Call(workflow, study)
        call.begin()
        if not workflow.modifier.is_main_snakefile():
            join_handlers(workflow, onstart=call.start, onsuccess=call.succeed, onerror=call.fail)
    return _begun[id(workflow)]


def join_handlers(workflow, **handlers):
    """Have Snakemake run each of `handlers` before the main Snakefile's own, whether that is set already or will be."""
    for event, ours in handlers.items():
        register = getattr(workflow, event)

        def join(theirs, ours=ours):
            def run(log):
                ours()
                theirs(log)

            return run

        # Snakemake keeps the handler under this name, and has no other way to have two.
        setattr(workflow, f"_{event}", join(getattr(workflow, f"_{event}")))
        setattr(workflow, event, lambda theirs, register=register, join=join: register(join(theirs)))
