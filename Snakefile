"""Baton: from images and what annotators said of them to CNNs compared on a test set.

`snakemake -n` shows what would be done, `snakemake` does it, and `snakemake` again goes on where the
last session stopped. `config.yaml` holds every choice; `snakemake --list-target-rules` lists what
can be asked for by name.
"""

import sys

from snakemake.utils import min_version

min_version("9.19")
sys.path.insert(0, f"{workflow.basedir}/scripts")  # for what the rules import of baton


# For `--sdm apptainer`; the Dockerfile says how to make it.
container: f"{workflow.basedir}/baton.sif"


configfile: f"{workflow.basedir}/config.yaml"


if config["data"]["source"] == "demo":

    configfile: f"{workflow.basedir}/examples/demo.yaml"


include: "rules/config.smk"
include: "rules/models.smk"
include: "rules/common.smk"
include: "rules/session.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/use.smk"
include: "rules/plan.smk"


rule all:
    """The whole study, to results/report.html."""
    default_target: True
    input:
        "results/report.html",


localrules:
    status,


rule status:
    """Print how far each training is; trains nothing."""
    log:
        "logs/status.log",
    run:
        tell_progress()


check_names(rule.name for rule in workflow.rules)
if workflow.is_main_process:
    tell_notes()
announce_snakemake()
hand_on_warnings()
SESSION = None
if workflow.is_main_process and not workflow.dryrun:
    end_before_the_start()
    SESSION = note_session()
    keep_finished()
release_dead_lock(SESSION)


onstart:
    refuse_fewer_epochs(workflow.dag.needrun_jobs())
    # The jobs of a cluster have limits of their own, and no session; they go on where this call ends.
    announce_end(None if workflow.non_local_exec else seconds_left())
    if workflow.non_local_exec:
        teach_slurm()
        note_what_to_show(workflow.dag.needrun_jobs())
    else:
        hand_on_the_end()


onsuccess:
    show_logs()


onerror:
    tell_progress()
