"""A Slurm cluster: what Snakemake's plugin for it (snakemake-executor-plugin-slurm 2.8.0) does wrong, and `teach` corrects.

The plugin, left to itself,

- asks sacct although squeue was asked for, where the cluster forgets ended jobs early or does not say when;
- takes a job that sacct calls "CANCELLED by 1000" for one that still runs;
- waits for ever for a job that the cluster does not list any more, and for all jobs after some failed queries;
- submits a job again whose script has named a mistake of the user's, which the next attempt would meet again.

Some of its functions are wrapped for that; of a version that lacks one of them, all are left as they are.
"""

import subprocess
import time
from contextlib import suppress
from functools import cache

from baton.errors import forget_mistake

FORGOTTEN_AFTER = 120  # seconds in which the cluster answers and does not list a job, until it counts as gone
# Seconds at most between queries: where the cluster does not say how long it lists ended jobs; and as the plugin has it.
ASK_EVERY, SELDOM = 60, 180


# --- The plugin


def number_of(job: str) -> str:
    """Return the number of a job, or of the array that it belongs to: 7 of "7_2", and of "7_[1-5]", which are pending."""
    return job.split("_")[0]


def teach(plugin):
    """Wrap the functions of the plugin's module that this module's docstring describes; return whether they exist."""
    try:
        ask, age_of_jobs, executor = plugin.query_job_status, plugin.get_min_job_age, plugin.Executor
        check, report = executor.check_active_jobs, executor.report_job_error
    except AttributeError:
        return False
    answers: list[dict[str, str]] = []  # of the last check, {job: state} each
    unlisted: dict[str, float] = {}  # job: since when
    elsewhere: list[
        str
    ] = []  # whether jobs were sent to other clusters than this one, of which squeue here knows nothing

    async def query_job_status(command, logger):
        states, seconds = await ask(command, logger)
        if states is not None:
            states = {job: state.split(" ")[0].rstrip("+") for job, state in states.items()}
            answers.append(states)
        return states, seconds

    def get_min_job_age():
        # Else long enough, whatever it is: squeue is asked in time.
        return age_of_jobs() if elsewhere else 10 * SELDOM

    async def check_active_jobs(self, active_jobs):
        answers.clear()
        elsewhere[:] = getattr(self, "_submitted_job_clusters", ())
        remaining = [job async for job in check(self, active_jobs)]
        if not answers:  # not one query was answered; nothing is known of any job
            remaining = active_jobs
        listed = {number_of(job) for answer in answers for job in answer}
        for job in remaining:
            name = job.external_jobid
            if not answers or elsewhere or number_of(name) in listed:
                unlisted.pop(name, None)
            elif time.monotonic() - unlisted.setdefault(name, time.monotonic()) > FORGOTTEN_AFTER:
                unlisted.pop(name)
                # Should it run where nobody sees it, it must not write beside the one that is sent next.
                with suppress(OSError, subprocess.SubprocessError):
                    subprocess.run(["scancel", name], capture_output=True, timeout=60)
                message = (
                    f"SLURM-job '{name}' is not listed by the cluster any more: how it ended is not known."
                )
                log = job.aux.get("slurm_logfile")
                self.report_job_error(job, msg=message, aux_logs=[str(log)] if log else [])
                continue
            yield job
        age = age_of_jobs()  # 0: for good
        longest = ASK_EVERY if age is None else max(age // 3, 5) if age else SELDOM
        self.next_seconds_between_status_checks = min(self.next_seconds_between_status_checks, longest)

    def report_job_error(self, job_info, msg=None, **more):
        jobs = getattr(job_info.job, "jobs", [job_info.job])  # of a group
        if [log for job in jobs for log in job.log if forget_mistake(log)]:
            for job in jobs:
                job.rule.restart_times = 0
        report(self, job_info, msg=msg, **more)

    plugin.query_job_status, plugin.get_min_job_age = query_job_status, get_min_job_age
    executor.check_active_jobs, executor.report_job_error = check_active_jobs, report_job_error
    return True


# --- Memory


@cache
def largest_node() -> int | None:
    """Return the memory of the cluster's largest node in MB, None where that is not known."""
    with suppress(OSError, ValueError, subprocess.SubprocessError):
        output = subprocess.run(
            ["sinfo", "--noheader", "--format=%m"], capture_output=True, text=True, check=True, timeout=30
        )
        return max(int(line.rstrip("+")) for line in output.stdout.split())
    return None
