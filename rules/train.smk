"""Training: one rule a run (a model with a seed), each going on from its state.

Needs results/data/packed/IMAGES and class_weights.json. Makes results/models/MODEL/seed_N/: the model, its
history and curves. The state is in state/MODEL/seed_N/, declared by no rule: Snakemake would delete
it when a session ends early. Models train once a seed; `train_model_3` is model_3 with all its seeds.
"""

for run in RUNS:

    rule:
        name:
            f"train_{run.name}"
        input:
            train=f"{run.packed}/train.npy",
            train_manifest=f"{run.packed}/train.csv",
            validation=f"{run.packed}/validation.npy",
            validation_manifest=f"{run.packed}/validation.csv",
            weights="results/data/class_weights.json",
        output:
            model=f"results/models/{run.folder}/model.keras",
            history=f"results/models/{run.folder}/history.csv",
            curves=report(
                f"results/models/{run.folder}/curves.svg",
                caption="report/curves.rst",
                category="Curves",
                labels={"model": run.model, "seed": str(run.seed)},
            ),
            curves_png=f"results/models/{run.folder}/curves.png",
            summary=f"results/models/{run.folder}/training.json",
        log:
            f"logs/train/{run.folder}.log",
        benchmark:
            f"benchmarks/train/{run.folder}.tsv"
        group:
            run.name
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=memory_of(run),
        params:
            settings=run.settings,
            augmentation=config["augmentation"],
            seed=run.seed,
            state=f"state/{run.folder}",
            board=f"logs/tensorboard/{run.folder}",
        script:
            "../scripts/train.py"


for model, runs in RUNS_BY_MODEL.items():
    if len(runs) > 1:

        rule:
            name:
                f"train_{model}"
            input:
                [f"results/models/{run.folder}/model.keras" for run in runs],


rule train:
    """All trainings."""
    input:
        [f"results/models/{run.folder}/model.keras" for run in RUNS],


# The model that config verify names, else the smallest, with its first seed.
tried = RUNS_BY_MODEL[config["verify"] or SMALLEST.model][0]


rule verify_resume:
    """Train a few epochs straight and again with kills; fail where a bit differs."""
    input:
        train=f"{tried.packed}/train.npy",
        train_manifest=f"{tried.packed}/train.csv",
        validation=f"{tried.packed}/validation.npy",
        validation_manifest=f"{tried.packed}/validation.csv",
        weights="results/data/class_weights.json",
    log:
        "logs/verify_resume.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=memory_of(tried),
    params:
        settings=tried.settings,
        augmentation=config["augmentation"],
        seed=tried.seed,
        folder="state/verify_resume",
    script:
        "../scripts/verify_resume.py"
