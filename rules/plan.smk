"""The plan: what a study will take, without training it.

Needs results/data/split.csv. Prints the plan, writes results/plan.json, and keeps what it measures on this
machine in benchmarks/plan/.
"""


rule plan:
    """Tell what the study takes: time, memory, disk, sessions; trains nothing."""
    input:
        split="results/data/split.csv",
    log:
        "logs/plan.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=memory_of(LARGEST),
    params:
        runs=[vars(run) for run in RUNS],
        augmentation=config["augmentation"],
        study=STUDY,
        session_minutes=config["session_minutes"],
        cores=workflow.cores,
    script:
        "../scripts/plan.py"
