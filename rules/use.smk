"""Using a trained model: on other images, and in other formats.

`snakemake predict --config model=model_3 images=FOLDER` makes results/predictions/MODEL/;
`snakemake export_model_3` makes results/exports/MODEL/seed_N/. Both take the model that is there, whatever Snakemake
finds changed since, and train only where there is none.
"""

import hashlib

from baton.finished import model_of

# A model predicts with its first seed.
asked = RUNS_BY_MODEL[PREDICTION["model"]][0] if PREDICTION["model"] else None


def unless_there(run):
    """Return the model of a run as an input to be made, or nothing where one is there already."""
    return [] if model_of(f"results/models/{run.folder}") else f"results/models/{run.folder}/model.keras"


def use_of(run):
    """Return the params of a rule that uses a run's model as it is."""
    folder = f"results/models/{run.folder}"
    return {
        "folder": model_of(folder) or folder,
        "settings": run.settings,
        "augmentation": config["augmentation"],
    }


def digest_of_model(run):
    """Return a text that changes when the model of a run is another one."""
    try:
        with open(f"{use_of(run)['folder']}/training.json", "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()[:12]
    except OSError:
        return None


rule predict:
    """Predict a folder of images: --config model=NAME images=FOLDER."""
    input:
        # Nothing where no model is named, which the script refuses.
        model=unless_there(asked) if asked else [],
    log:
        "logs/predict.log",
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=memory_of(asked or SMALLEST),
    params:
        **(use_of(asked) if asked else {"folder": None, "settings": None, "augmentation": None}),
        images=PREDICTION["images"],
        name=PREDICTION["model"],
    script:
        "../scripts/predict.py"


for run in RUNS:

    rule:
        name:
            f"export_{run.name}"
        input:
            model=unless_there(run),
        output:
            folder=directory(f"results/exports/{run.folder}"),
        log:
            f"logs/export/{run.folder}.log",
        conda:
            ENVIRONMENT
        threads: 2
        resources:
            mem_mb=memory_of(run),
        params:
            **use_of(run),
            test=f"{run.packed}/test.npy",
            digest=digest_of_model(run),
        script:
            "../scripts/export.py"


for model, runs in RUNS_BY_MODEL.items():
    if len(runs) > 1:

        rule:
            name:
                f"export_{model}"
            input:
                [f"results/exports/{run.folder}" for run in runs],
