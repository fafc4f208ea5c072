"""Measure how far annotators agree, as a whole and each against the others."""

import numpy as np

from agreement.annotators import compare_annotators, measure_repeats
from agreement.reliability import measure
from baton import console
from baton.console import log
from baton.data.labels import sort_labels
from baton.files import write_json
from baton.formatting import as_number, decimals
from baton.manifests import read_manifest, write_manifest

NOTHING = {
    "folders": "The labels are the names of folders: nobody's answers are known.",
    "one": "Each image has one answer, so nothing can be said of how far annotators agree, or of the best that a model could "
    "reach. Second answers to some 200 of the images would tell.",
    "alone": "Each image has the answers of one annotator alone, so nothing can be said of how far annotators agree. Answers of "
    "another one to some 200 of the images would tell.",
}


def take_one_each(frame):
    """Return one row per image and annotator: of several answers the middle one, of two middle ones the lower.

    So an annotator who answers an image twice does not agree with himself. An annotator who is not known is another one in
    each row. frame: image, annotator, answer, place (of the answer, in order).
    """
    frame = frame.sort_values(["image", "annotator", "place"], kind="stable")
    cells = frame.groupby(["image", "annotator"], sort=False)["place"]
    middle = cells.cumcount() == (cells.transform("size") - 1) // 2
    return frame[middle | (frame["annotator"] == "")]


def name_annotators(names):
    """Return {annotator: pseudonym}, a1, a2, ..., in the order of the names."""
    return {name: f"a{number}" for number, name in enumerate(sort_labels(names), 1)}


def main(answers_csv, classes_csv, agreement_json, annotators_csv, pseudonyms):
    """Write agreement.json, see data.agreement in report.schema.json, and a row per annotator, of the images in use.

    pseudonyms: whether agreement.json names annotators a1, a2, ...; annotators.csv has both.
    """
    frame = read_manifest(answers_csv, ["image", "annotator", "answer"])
    frame = frame[frame["image"].isin(read_manifest(classes_csv, ["image"])["image"])]
    columns = ["annotator", "pseudonym"]
    found = {"images": frame["image"].nunique(), "answers": len(frame), "several": 0, "reason": None}
    empty = {"per_image": None, "figures": None, "repeats": None, "annotators": [], "kind": None}
    if frame.empty or not frame["image"].duplicated().any():
        reason = NOTHING["folders" if frame.empty else "one"]
        log.info("%s", reason)
        write_json(agreement_json, found | empty | {"reason": reason})
        write_manifest(frame.reindex(columns=columns)[:0], annotators_csv)
        return
    categories = sort_labels(frame["answer"].unique())
    numbers = [as_number(label) for label in categories]
    are_numbers = None not in numbers
    place = {label: number for number, label in enumerate(categories)}
    frame["place"] = frame["answer"].map(place).astype(int)
    frame["value"] = np.array(numbers, float)[frame["place"]] if are_numbers else np.nan
    one_each = take_one_each(frame)
    counts = one_each["image"].value_counts()
    repeats = measure_repeats(frame, are_numbers)
    figures = None
    if (counts > 1).any():
        codes, _ = one_each["image"].factorize()
        values = np.array(numbers, float) if are_numbers else None
        figures = measure(codes, one_each["place"].to_numpy(), values, len(categories))
        level, alpha = next(
            (level, figures["alpha"][level])
            for level in ("ordinal", "interval", "nominal")
            if figures["alpha"][level]
        )
        log.info("Krippendorff's alpha (%s): %s", level, decimals(alpha["value"]))
    known = one_each[one_each["annotator"] != ""]
    rows = compare_annotators(known, are_numbers) if len(known) else None
    names = name_annotators(known["annotator"].unique())
    people = [] if rows is None else rows.replace({np.nan: None}).to_dict("records")
    for row in people:
        if row["odd"]:
            log.warning(
                "annotator %s %s", names[row["annotator"]] if pseudonyms else row["annotator"], row["odd"]
            )
    several = int((counts > 1).sum())
    write_json(
        agreement_json,
        found
        | {
            "several": several,
            "reason": None if several else NOTHING["alone"],
            "kind": "numbers" if are_numbers else "names",
            "per_image": {
                "min": int(counts.min()),
                "median": float(counts.median()),
                "max": int(counts.max()),
            },
            "figures": figures,
            "repeats": repeats,
            "annotators": [row | {"annotator": names[row["annotator"]]} for row in people]
            if pseudonyms
            else people,
        },
        ensure_ascii=False,
        allow_nan=False,
    )
    if rows is None:
        write_manifest(frame.reindex(columns=columns)[:0], annotators_csv)
    else:
        rows.insert(1, "pseudonym", rows["annotator"].map(names))
        write_manifest(rows.round(4), annotators_csv)


if __name__ == "__main__":
    console.start(snakemake.log[0])
    main(
        snakemake.input.answers,
        snakemake.input.classes,
        snakemake.output.agreement,
        snakemake.output.annotators,
        **snakemake.params,
    )
