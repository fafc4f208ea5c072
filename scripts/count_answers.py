"""Count the answers to each image by class: what a model may learn, and is tested against, beside its label."""

import pandas as pd

from baton import console
from baton.files import read_json
from baton.formatting import as_number
from baton.manifests import read_manifest, write_manifest


def main(answers_csv, images_csv, weights_json, learned_csv, tested_csv):
    """Write image, mean (of answers that are all numbers, else empty) and a column of counts per class, "answers CLASS".

    learned_csv: of the images for training and validation; tested_csv: of those for test; in the order of images.csv.
    """
    answers = read_manifest(answers_csv)
    classes = read_json(weights_json)["classes"]
    images = read_manifest(images_csv, ["image", "split"])
    answers = answers[answers["image"].isin(images["image"])]
    counts = pd.crosstab(answers["image"], answers["class"]).reindex(
        index=images["image"], columns=classes, fill_value=0
    )
    numbers = answers["answer"].map(as_number)
    means = (
        numbers.astype(float).groupby(answers["image"]).mean()
        if numbers.notna().all()
        else pd.Series(dtype=float)
    )
    counts.columns = [f"answers {label}" for label in classes]
    # To so many digits as floats have, so that it does not follow from the order of the answers.
    counts.insert(
        0, "mean", [f"{value:.12g}" if pd.notna(value) else "" for value in means.reindex(images["image"])]
    )
    tested = (images["split"] == "test").to_numpy()
    for rows, path in ((~tested, learned_csv), (tested, tested_csv)):
        write_manifest(counts[rows].rename_axis("image").reset_index(), path)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(*(snakemake.input[name] for name in ("answers", "images", "weights")), *snakemake.output)
