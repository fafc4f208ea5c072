"""Baton: from images and what annotators said of them to CNNs compared on a test set.

`snakemake -n` shows what would be done, `snakemake` does it, and `snakemake` again resumes where the
last session stopped. `config.yaml` holds every choice; `snakemake --list-target-rules` lists what
can be asked for by name.
"""

import sys

from snakemake.utils import min_version, validate

min_version("9.19")
# Beside this file, wherever it is used from.
sys.path.insert(0, f"{workflow.current_basedir.get_path_or_uri(secret_free=True)}/scripts")

from baton.errors import ConfigError
from baton.study.call import begin_call
from baton.study.study import make_study

IS_MODULE = not workflow.modifier.is_main_snakefile()

try:
    if workflow.modifier.modify_path("results") != "results":
        raise ConfigError("module: a prefix moves only part of Baton's files: leave it out.")
    STUDY = make_study(
        config,
        validate,
        None if IS_MODULE else workflow.config_settings,
        made_before=IS_MODULE,
        is_call=workflow.is_main_process,
    )
except ConfigError as error:
    sys.exit(str(error))
config.clear()
config.update(STUDY.config)  # what the scripts see


# For `--sdm apptainer`; the Dockerfile says how to make it.
container: f"{workflow.basedir}/baton.sif"


include: "rules/new.smk"
include: "rules/data.smk"
include: "rules/answers.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/use.smk"
include: "rules/plan.smk"


rule all:
    """The whole study, to results/report.html."""
    default_target: not IS_MODULE
    input:
        "results/report.html",


rule status:
    """Print how far each training run is; trains nothing."""
    log:
        "logs/status.log",
    localrule: True
    run:
        CALL.print_progress()


try:
    STUDY.check_names(rules._rules)  # as they are called here, whatever a module's user calls them
    CALL = begin_call(workflow, STUDY)
except ConfigError as error:
    sys.exit(str(error))


onstart:
    CALL.start()


onsuccess:
    CALL.succeed()


onerror:
    CALL.fail()
