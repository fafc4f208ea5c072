"""Using a trained model: on other images, and in other formats.

`snakemake predict --config model=model_3 images=FOLDER` makes results/predictions/MODEL/;
`snakemake export_model_3` makes results/exports/MODEL/seed_N/. Both take the model that is there, whatever Snakemake
finds changed since, and train only where there is none.
"""

# A model predicts with its first seed.
asked = RUNS_BY_MODEL[PREDICTION["model"]][0] if PREDICTION["model"] else None
there = find_model(asked) if asked else None


rule predict:
    """Predict a folder of images: --config model=NAME images=FOLDER."""
    input:
        # Nothing where no model is named, which the script refuses.
        model=f"results/models/{asked.folder}/model.keras" if asked and not there else [],
    log:
        "logs/predict.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=memory_of(asked or SMALLEST),
    params:
        model=there,
        settings=asked.settings if asked else None,
        augmentation=config["augmentation"],
        images=PREDICTION["images"],
        name=PREDICTION["model"],
    script:
        "../scripts/predict.py"


for run in RUNS:
    there = find_model(run)

    rule:
        name:
            f"export_{run.name}"
        input:
            model=[] if there else f"results/models/{run.folder}/model.keras",
        output:
            folder=directory(f"results/exports/{run.folder}"),
        log:
            f"logs/export/{run.folder}.log",
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=memory_of(run),
            runtime=30,
        params:
            model=there,
            settings=run.settings,
            augmentation=config["augmentation"],
            test=f"{run.packed}/test.npy",
            digest=digest_of_model(there),
        script:
            "../scripts/export.py"


for model, runs in RUNS_BY_MODEL.items():
    if len(runs) > 1:

        rule:
            name:
                f"export_{model}"
            input:
                [f"results/exports/{run.folder}" for run in runs],
