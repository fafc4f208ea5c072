"""Using a trained model: on other images, and in other formats.

Needs
    results/models/MODEL/seed_N/model.keras, or one that is kept in finished/ there, whatever Snakemake finds changed
    since; trains only where there is none
Makes
    results/predictions/MODEL/FOLDER.csv (`snakemake predict --config model=model_3 images=FOLDER`)
    results/exports/MODEL/seed_N/ (`snakemake export_model_3`)
"""

PREDICTOR = STUDY.predicting  # the run that predicts, if the command line names a model


rule predict:
    """Predict a folder of images: --config model=NAME images=FOLDER."""
    input:
        # Nothing where no model is named, which the script refuses.
        model=PREDICTOR.files.model if PREDICTOR and not PREDICTOR.existing_model else [],
    log:
        "logs/predict.log",
    conda:
        "../envs/baton.yaml"
    threads: 2
    resources:
        mem_mb=(PREDICTOR or STUDY.smallest).ask_memory,
    params:
        model=PREDICTOR.existing_model if PREDICTOR else None,
        settings=PREDICTOR.settings if PREDICTOR else None,
        augmentation=STUDY.config["augmentation"],
        megapixels=STUDY.config["images"]["megapixels"],
        images=STUDY.named["images"],
        name=STUDY.named["model"],
    script:
        "../scripts/predict.py"


for run in STUDY.runs:

    rule:
        name:
            f"export_{run.name}"
        input:
            model=[] if run.existing_model else run.files.model,
        output:
            folder=directory(run.files.exports),
        log:
            f"logs/export/{run.folder}.log",
        conda:
            "../envs/baton.yaml"
        threads: 2
        resources:
            mem_mb=run.ask_memory,
            runtime=30,
        params:
            model=run.existing_model,
            settings=run.settings,
            augmentation=run.augmentation,
            test=run.packed.images("test"),
            digest=run.digest_of_model,
        script:
            "../scripts/export.py"


for model, runs in STUDY.models_of_several_seeds.items():

    rule:
        name:
            f"export_{model}"
        input:
            [run.files.exports for run in runs],
