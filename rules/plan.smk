"""The plan: what a study will take, without training it.

Needs
    results/data/split.csv
Makes
    results/plan.json, and prints it
    benchmarks/plan/: what was measured on this machine, for later plans
"""


rule plan:
    """Estimate what the study takes: time, memory, disk, sessions; trains nothing."""
    input:
        split="results/data/split.csv",
        parts=[STUDY.script(f"planning/{name}.py") for name in ("describe", "schedule")],
    log:
        "logs/plan.log",
    conda:
        "../envs/baton.yaml"
    threads: 2
    resources:
        mem_mb=STUDY.memory_of_plan,
    params:
        runs=STUDY.run_fields,
        data=STUDY.data,
        session_minutes=STUDY.config["session_minutes"],
        cores=workflow.cores,
        limits=lambda wildcards: CALL.limits(),
        given=lambda wildcards: CALL.resources_of_training(),
    script:
        "../scripts/plan.py"
