"""Evaluation: every trained model on the test split, and the report.

Needs
    results/models/MODEL/seed_N/model.keras, training.json, curves.svg
    results/data/packed/IMAGES/test.npy, test.csv, train.csv, validation.csv
    results/data/class_weights.json, classes.csv, left_out.csv, notes.csv, images.csv, corrupt.csv, look_at.csv
Makes
    results/evaluation/MODEL/seed_N/metrics.json, predictions.csv
    results/models/MODEL/seed_N/model_card.md
    results/report.html, report.json, report/models.csv, pairs.csv, table.tex, table.md, accuracy.svg,
        accuracy_parameters.svg, reliability.svg, confusion/
    results/report_now.html, report_now.json, report_now/
"""

for run in STUDY.runs:

    rule:
        name:
            f"evaluate_{run.name}"
        input:
            **({"answers": "results/data/answers_tested.csv"} if STUDY.has_answers else {}),
            model=run.files.model,
            summary=run.files.summary,
            test=run.packed.images("test"),
            test_manifest=run.packed.manifest("test"),
            weights="results/data/class_weights.json",
            groups="results/data/groups.csv",
            parts=[STUDY.script(f"evaluation/{name}") for name in ("card.py", "model_card.md.j2")],
        output:
            metrics=run.files.metrics,
            predictions=run.files.predictions,
            card=run.files.card,
        log:
            f"logs/evaluate/{run.folder}.log",
        benchmark:
            f"benchmarks/evaluate/{run.folder}.tsv"
        group:
            run.name
        conda:
            "../envs/baton.yaml"
        # Usually it finds the prediction that training made, and has nothing to compute.
        threads: 1
        resources:
            mem_mb=run.ask_memory,
            runtime=20,
        params:
            ordered=STUDY.ordered,
            kept_prediction=run.files.prediction,
        script:
            "../scripts/evaluate.py"


for model, runs in STUDY.models_of_several_seeds.items():

    rule:
        name:
            f"evaluate_{model}"
        input:
            [run.files.metrics for run in runs],


rule evaluate:
    """All training runs and their test results."""
    input:
        STUDY.files("metrics"),


# What every report is made from, finished runs or not.
REPORT_PARTS = {
    # The page first.
    "parts": [
        STUDY.script(f"report/{name}")
        for name in (
            "page.html.j2",
            "macros.html.j2",
            "verdict.html.j2",
            "findings.html.j2",
            "data.html.j2",
            "models.html.j2",
            "errors.html.j2",
            "quality.html.j2",
            "copies.html.j2",
            "annotators.html.j2",
            "ceiling.html.j2",
            "provenance.html.j2",
            "methods.html.j2",
            "style.css",
            "sort.js",
            "collect.py",
            "draw.py",
            "show.py",
            "verdict.py",
            "methods.py",
            "quality.py",
            "ceiling.py",
            "tables.py",
        )
    ]
}
REPORT_DATA = {
    "left_out": "results/data/left_out.csv",
    "notes": "results/data/notes.csv",
    "look_at": "results/data/look_at.csv",
    "classes": "results/data/classes.csv",
    "images": "results/data/images.csv",
    "corrupt": "results/data/corrupt.csv",
    "weights": "results/data/class_weights.json",
    "train_manifest": STUDY.most_synthetic.manifest("train"),
    "test_manifest": STUDY.pictures.manifest("test"),
    "test": STUDY.pictures.images("test"),
    # What each run is trained on: a model of other images is none of this study.
    "split": "results/data/split.csv",
    "copies": "results/data/copies.csv",
    "agreement": "results/data/agreement.json",
    "ceiling": "results/data/ceiling.json",
    "copies_facts": "results/data/copies.json",
    "groups": "results/data/groups.csv",
    # The pictures of copies, which may be in any split.
    "pictures": [STUDY.pictures.images(split) for split in ("train", "validation", "test")],
    "picture_manifests": [STUDY.pictures.manifest(split) for split in ("train", "validation", "test")],
    "trained_on": [
        packed.manifest(split) for packed in STUDY.packed.values() for split in ("train", "validation")
    ],
}
# Of each run; where the report is of finished runs alone, these need not be there.
REPORT_RESULTS = {kind: STUDY.files(kind) for kind in ("summary", "curves", "metrics", "predictions")}


rule write_report:
    """Write the report, results/report.html, and its numbers and figures."""
    input:
        **REPORT_PARTS,
        **REPORT_DATA,
        **REPORT_RESULTS,
    output:
        page="results/report.html",
        numbers="results/report.json",
        models=report("results/report/models.csv", caption="report/models.rst", category="Models"),
        pairs=report("results/report/pairs.csv", caption="report/pairs.rst", category="Models"),
        latex="results/report/table.tex",
        markdown="results/report/table.md",
        accuracy=report("results/report/accuracy.svg", caption="report/accuracy.rst", category="Models"),
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
        "../envs/baton.yaml"
    resources:
        mem_mb=STUDY.memory_of_report,
    params:
        runs=STUDY.run_fields,
        config=STUDY.reported_config,
    script:
        "../scripts/write_report.py"


rule report_now:
    """Write results/report_now.html of the training runs that are finished; trains nothing."""
    input:
        **REPORT_PARTS,
        **REPORT_DATA,
    log:
        "logs/report_now.log",
    localrule: True
    conda:
        "../envs/baton.yaml"
    params:
        page="results/report_now.html",
        results=REPORT_RESULTS,
        runs=STUDY.run_fields,
        config=STUDY.reported_config,
    script:
        "../scripts/write_report.py"


rule report:
    """The report, results/report.html."""
    input:
        "results/report.html",
