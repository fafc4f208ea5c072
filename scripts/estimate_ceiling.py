"""Estimate the best that any model could reach against the study's labels, before one is trained."""

import numpy as np

from annotations.classes import Classes
from baton import console
from baton.console import log
from baton.data.copies import name_groups
from baton.data.labels import normalize_label
from baton.files import read_json, write_json
from baton.formatting import as_number
from baton.manifests import read_manifest
from baton.results.scale import read_scale
from ceiling.estimation import estimate
from ceiling.instead import bracket, predict_by_others
from ceiling.labelling import Labelling
from ceiling.oracle import Scale
from ceiling.table import Table, keep_placed, list_few

LEAST = 20  # images with two answers or more
NOTHING = {
    "folders": "The labels are the names of folders: how far they are right is not known, nor what a model could reach.",
    "one": "Each image has one answer. How much of it is chance cannot be told, so there is no ceiling. Second answers to 200 of "
    "the images would give it to about 0.06 either way.",
    "few": f"Fewer than {LEAST} images have two answers or more: too few to tell how much of an answer is chance, so there is no "
    "ceiling. Second answers to 200 of the images would give it to about 0.06 either way.",
    "alone": "The labels are those of one annotator, and nobody else gave answers to as many as "
    f"{LEAST} of these images: how well others predict them is not known, and a model may learn the person.",
    "unlabelled": "The test split has no images.",
}


def main(answers_csv, classes_csv, images_csv, weights_json, groups_csv, ceiling_json, data, ordered):
    """Write ceiling.json, see data.ceiling in report.schema.json.

    data: of the config; ordered: whether the classes are places on a scale, None: if every one is a number.
    """
    answers = read_manifest(answers_csv)
    classes = read_json(weights_json)["classes"]
    images = read_manifest(images_csv, ["image", "class", "split"])
    images = images[images["split"] == "test"]
    test = images["class"].value_counts().reindex(classes, fill_value=0).to_numpy(int)
    group = name_groups(images["image"], read_manifest(groups_csv))
    together = None
    if group.duplicated().any():
        together = [group[(images["class"] == label).to_numpy()].factorize()[0] for label in classes]
    scale = None
    if ordered or (ordered is None and all(as_number(label) is not None for label in classes)):
        found = read_scale(classes)
        scale = Scale(np.argsort(found["order"]), np.array(found["values"], float))
    result = {
        "kind": None,
        "reason": None,
        "images": 0,
        "annotators": None,
        "measures": {},
        "twice": None,
        "bracket": None,
    }
    result |= find_ceiling(
        answers, read_manifest(classes_csv, ["image", "class"]), classes, test, scale, data, together
    )
    say(result)
    write_json(ceiling_json, result, ensure_ascii=False, allow_nan=False)


def say(result):
    """Log what was found."""
    accuracy = result["measures"].get("accuracy")
    if result["reason"]:
        log.info("%s", result["reason"])
    elif result["kind"] == "ceiling":
        low, high = accuracy["band"]
        log.info(
            "the best accuracy that any model could reach: about %s; on so few test images a perfect model is between %s and %s",
            *(f"{value:.2f}" for value in (accuracy["value"], low, high)),
        )
    elif result["kind"] == "benchmark":
        log.info("the other annotators predict these labels with accuracy %.2f", accuracy["value"])
    else:
        log.info("the best accuracy is between about %.2f and %.2f", *result["bracket"])


def find_ceiling(answers, labelled, classes, test, scale, data, together=None):
    """Return what of ceiling.json there is to say; answers: answers.csv; labelled: image and class; test, together: see Oracle."""
    if answers.empty:
        return {"reason": NOTHING["folders"]}
    if not test.sum():
        return {"reason": NOTHING["unlabelled"]}
    if data["annotator_column"] in data["where"]:
        return find_benchmark(answers, labelled, classes, test, scale, data)
    if scale is not None:
        answers = keep_placed(answers, data["classes"])
    several = answers["image"].duplicated(keep=False)
    number = answers.loc[several, "image"].nunique()
    if number < LEAST:
        return {"reason": NOTHING["few" if number else "one"]}
    if answers["annotator"].nunique() == 1 and answers["annotator"].iloc[0] != "":
        return {"reason": NOTHING["alone"]}
    table = Table(answers, data, scale is not None)
    chosen = Classes(data["classes"], answers["answer"])
    labelling = Labelling(data["combine"], chosen, classes, table.categories, table.values)
    if scale is None or table.order is None:
        low, high = bracket(table.count(answers)[:, 0], labelling, test)
        return {"kind": "bracket", "images": number, "bracket": [low, high]}
    annotators = list_few(answers)
    measures = estimate(table.count(answers, annotators), table.order, labelling, test, scale, together)
    return {
        "kind": "ceiling",
        "images": answers["image"].nunique(),
        "annotators": len(annotators) if annotators else None,
        "twice": measures.pop("twice"),
        "measures": measures,
    }


def find_benchmark(answers, labelled, classes, test, scale, data):
    """Return how well the other annotators predict the one whose labels these are."""
    own = normalize_label(data["where"][data["annotator_column"]])
    others = answers[
        (answers["annotator"].map(normalize_label) != own) & answers["image"].isin(labelled["image"])
    ]
    labels = labelled.set_index("image")["class"].map({label: index for index, label in enumerate(classes)})
    if scale is not None:
        others = keep_placed(others, data["classes"])
    table = Table(others, data, scale is not None)
    if table.order is None:
        scale = None
        theirs = (
            others[others["class"].isin(classes)].groupby(["image", "class"]).size().unstack(fill_value=0)
        )
        theirs = theirs.reindex(columns=classes, fill_value=0)
    else:
        theirs = others.assign(value=table.place(others)).groupby("image")["value"].mean()
    if len(theirs) < LEAST:
        return {"reason": NOTHING["alone"]}
    labels = labels[theirs.index].to_numpy(int)
    there = np.bincount(labels, minlength=len(classes)) > 0
    measures = predict_by_others(labels, theirs.to_numpy(float), np.where(there, test, 0), scale)
    return {
        "kind": "benchmark",
        "images": len(labels),
        "measures": {name: measure | {"band": None} for name, measure in measures.items()},
    }


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        *(snakemake.input[name] for name in ("answers", "classes", "images", "weights", "groups")),
        snakemake.output.ceiling,
        **snakemake.params,
    )
