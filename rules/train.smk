"""Training: one rule per run (a model with a seed), each resuming from its state.

Needs
    results/data/packed/IMAGES/train.npy, train.csv, validation.npy, validation.csv
    results/data/class_weights.json, and answers_learned.csv where a model learns answers
Makes
    results/models/MODEL/seed_N/model.keras, history.csv, curves.svg, curves.png, training.json
Keeps, declared by no rule (Snakemake would delete it when a session ends early)
    state/MODEL/seed_N/
    results/models/MODEL/seed_N/finished/
    logs/tensorboard/MODEL/seed_N/

Models train once per seed; `train_model_3` is model_3 with all its seeds.
"""

for run in STUDY.runs:

    rule:
        name:
            f"train_{run.name}"
        input:
            **({"answers": run.answers} if run.answers else {}),
            train=run.packed.images("train"),
            train_manifest=run.packed.manifest("train"),
            validation=run.packed.images("validation"),
            validation_manifest=run.packed.manifest("validation"),
            weights="results/data/class_weights.json",
        output:
            model=run.files.model,
            history=run.files.history,
            curves=report(
                run.files.curves,
                caption="report/curves.rst",
                category="Curves",
                labels={"model": run.model, "seed": str(run.seed)},
            ),
            curves_png=run.files.curves_png,
            summary=run.files.summary,
        log:
            f"logs/train/{run.folder}.log",
        benchmark:
            f"benchmarks/train/{run.folder}.tsv"
        priority: run.priority
        group:
            run.name
        conda:
            "../envs/baton.yaml"
        threads: run.threads
        resources:
            mem_mb=run.ask_memory,
        params:
            settings=run.settings,
            augmentation=run.augmentation,
            seed=run.seed,
            state=run.files.state,
            board=run.files.board,
            # No input: a model does not follow from the images that it is tested on.
            test={
                "images": run.packed.images("test"),
                "manifest": run.packed.manifest("test"),
                "kept_as": run.files.prediction,
            },
        script:
            "../scripts/train.py"


for model, runs in STUDY.models_of_several_seeds.items():

    rule:
        name:
            f"train_{model}"
        input:
            [run.files.model for run in runs],


rule train:
    """All training runs."""
    input:
        STUDY.files("model"),


rule verify_resume:
    """Train a few epochs straight and again with kills; fail where a bit differs."""
    input:
        **({"answers": STUDY.verified.answers} if STUDY.verified.answers else {}),
        train=STUDY.verified.packed.images("train"),
        train_manifest=STUDY.verified.packed.manifest("train"),
        validation=STUDY.verified.packed.images("validation"),
        validation_manifest=STUDY.verified.packed.manifest("validation"),
        weights="results/data/class_weights.json",
    log:
        "logs/verify_resume.log",
    conda:
        "../envs/baton.yaml"
    threads: STUDY.verified.threads
    resources:
        mem_mb=STUDY.verified.ask_memory,
    params:
        settings=STUDY.verified.settings,
        augmentation=STUDY.verified.augmentation,
        seed=STUDY.verified.seed,
        folder="state/verify_resume",
    script:
        "../scripts/verify_resume.py"
