"""Using a trained model: on other images, and in other formats.

`snakemake predict --config model=model_3 images=FOLDER` makes results/predictions/MODEL.csv;
`snakemake export_model_3` makes results/exports/MODEL/seed_N/.
"""

# A model predicts with its first seed.
asked = RUNS_BY_MODEL[PREDICTION["model"]][0] if PREDICTION["model"] else None


rule predict:
    """Predict a folder of images: --config model=NAME images=FOLDER."""
    input:
        # Nothing where no model is named, which the script refuses.
        model=f"results/models/{asked.folder}/model.keras" if asked else [],
        weights="results/data/class_weights.json",
    log:
        "logs/predict.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=memory_of(asked or SMALLEST),
    params:
        images=PREDICTION["images"],
        name=PREDICTION["model"],
    script:
        "../scripts/predict.py"


for run in RUNS:

    rule:
        name:
            f"export_{run.name}"
        input:
            model=f"results/models/{run.folder}/model.keras",
            test=f"{run.packed}/test.npy",
        output:
            folder=directory(f"results/exports/{run.folder}"),
        log:
            f"logs/export/{run.folder}.log",
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=memory_of(run),
        script:
            "../scripts/export.py"


for model, runs in RUNS_BY_MODEL.items():
    if len(runs) > 1:

        rule:
            name:
                f"export_{model}"
            input:
                [f"results/exports/{run.folder}" for run in runs],
