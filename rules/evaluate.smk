"""Evaluation: every trained model on the test split, and the report.

Needs the models and results/data/packed/IMAGES. Makes results/evaluation/MODEL/seed_N/ (metrics.json,
predictions.csv), results/report.html, report.json, and report/ with tables and figures.
"""

for run in RUNS:

    rule:
        name:
            f"evaluate_{run.name}"
        input:
            model=f"results/models/{run.folder}/model.keras",
            summary=f"results/models/{run.folder}/training.json",
            test=f"{run.packed}/test.npy",
            test_manifest=f"{run.packed}/test.csv",
            weights="results/data/class_weights.json",
        output:
            metrics=f"results/evaluation/{run.folder}/metrics.json",
            predictions=f"results/evaluation/{run.folder}/predictions.csv",
        log:
            f"logs/evaluate/{run.folder}.log",
        benchmark:
            f"benchmarks/evaluate/{run.folder}.tsv"
        group:
            run.name
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=memory_of(run),
            runtime=20,
        params:
            ordered=config["data"]["ordered"],
        script:
            "../scripts/evaluate.py"


for model, runs in RUNS_BY_MODEL.items():
    if len(runs) > 1:

        rule:
            name:
                f"evaluate_{model}"
            input:
                [f"results/evaluation/{run.folder}/metrics.json" for run in runs],


rule evaluate:
    """All trainings and their test figures."""
    input:
        [f"results/evaluation/{run.folder}/metrics.json" for run in RUNS],


# By which a report knows the results of a run, and all that it tells of one that is not finished.
TOLD = [
    {
        "name": run.name,
        "model": run.model,
        "seed": run.seed,
        "folder": run.folder,
        "packed": run.packed,
        "settings": run.settings,
    }
    for run in RUNS
]
# What the report is about; the clock and what is tried beside it are not.
ASKED = {key: config[key] for key in sorted(config) if key not in ("session_minutes", "verify")}
MOST_SYNTHETIC = max(RUNS, key=lambda run: run.settings["synthetic_fraction"]).packed
REPORTED = {
    "template": f"{workflow.basedir}/scripts/write_report.html.j2",
    "left_out": "results/data/left_out.csv",
    "classes": "results/data/classes.csv",
    "images": "results/data/images.csv",
    "corrupt": "results/data/corrupt.csv",
    "weights": "results/data/class_weights.json",
    "train_manifest": f"{MOST_SYNTHETIC}/train.csv",
    "test_manifest": f"{PICTURES}/test.csv",
    "test": f"{PICTURES}/test.npy",
    # What each run is trained on: a model of other images is none of this study.
    "trained_on": [
        f"results/data/packed/{images}/{split}.csv" for images in PACKED for split in ("train", "validation")
    ],
}


rule write_report:
    """Write the report, results/report.html, and its numbers and figures."""
    input:
        **REPORTED,
        summaries=[f"results/models/{run.folder}/training.json" for run in RUNS],
        curves=[f"results/models/{run.folder}/curves.svg" for run in RUNS],
        metrics=[f"results/evaluation/{run.folder}/metrics.json" for run in RUNS],
        predictions=[f"results/evaluation/{run.folder}/predictions.csv" for run in RUNS],
    output:
        page="results/report.html",
        numbers="results/report.json",
        models=report("results/report/models.csv", caption="report/models.rst", category="Models"),
        pairs=report("results/report/pairs.csv", caption="report/pairs.rst", category="Models"),
        cost=report(
            "results/report/accuracy_parameters.svg",
            caption="report/accuracy_parameters.rst",
            category="Models",
        ),
        reliability=report(
            "results/report/reliability.svg", caption="report/reliability.rst", category="Models"
        ),
        # A folder: outputs that change with the models would hide from Snakemake that they changed.
        confusion=report(
            directory("results/report/confusion"),
            patterns=["{training}.svg"],
            caption="report/confusion.rst",
            category="Confusion",
        ),
    log:
        "logs/write_report.log",
    benchmark:
        "benchmarks/write_report.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=memory_of_report,
    params:
        runs=TOLD,
        config=ASKED,
    script:
        "../scripts/write_report.py"


localrules:
    report_now,


rule report_now:
    """Write results/report_now.html of the trainings that are finished; trains nothing."""
    input:
        **REPORTED,
    log:
        "logs/report_now.log",
    conda:
        ENVIRONMENT
    params:
        page="results/report_now.html",
        runs=TOLD,
        config=ASKED,
    script:
        "../scripts/write_report.py"


rule report:
    """The report, results/report.html."""
    input:
        "results/report.html",
