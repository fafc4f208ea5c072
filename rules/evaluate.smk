"""Evaluation: every trained model on the test split, and the report.

Needs the models and results/data/packed/test. Makes results/evaluation/MODEL/seed_N/ (metrics.json,
predictions.csv) and results/report.html.
"""

for run in RUNS:

    rule:
        name:
            f"evaluate_{run.name}"
        input:
            model=f"results/models/{run.folder}/model.keras",
            test="results/data/packed/test.npy",
            test_manifest="results/data/packed/test.csv",
            weights="results/data/class_weights.json",
        output:
            metrics=f"results/evaluation/{run.folder}/metrics.json",
            predictions=f"results/evaluation/{run.folder}/predictions.csv",
        log:
            f"logs/evaluate/{run.folder}.log",
        benchmark:
            f"benchmarks/evaluate/{run.folder}.tsv"
        conda:
            ENVIRONMENT
        threads: 2
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


rule write_report:
    """Write the report."""
    input:
        template=f"{workflow.basedir}/scripts/write_report.html.j2",
        left_out="results/data/left_out.csv",
        classes="results/data/classes.csv",
        images="results/data/images.csv",
        corrupt="results/data/corrupt.csv",
        weights="results/data/class_weights.json",
        train_manifest="results/data/packed/train.csv",
        summaries=[f"results/models/{run.folder}/training.json" for run in RUNS],
        curves=[f"results/models/{run.folder}/curves.svg" for run in RUNS],
        metrics=[f"results/evaluation/{run.folder}/metrics.json" for run in RUNS],
    output:
        report="results/report.html",
    log:
        "logs/write_report.log",
    benchmark:
        "benchmarks/write_report.tsv"
    conda:
        ENVIRONMENT
    params:
        config={key: value for key, value in config.items() if key not in ("session_minutes", "verify")},
    script:
        "../scripts/write_report.py"


rule report:
    """The report, results/report.html."""
    input:
        "results/report.html",
