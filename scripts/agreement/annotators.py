"""Each annotator against the others: bias, spread, agreement, and which of them stand out."""

import numpy as np
import pandas as pd
from scipy import stats

from baton.results.metrics import wilson_interval

LEAST = 10  # answers to images that others answered too, to be judged
LEVEL = 0.05


def compare_annotators(frame, are_numbers):
    """Return a row per annotator, sorted by name; frame: image, annotator, answer, value (of numbers), one answer each.

    answers: how many; shared: to images that others answered too; mean, spread: of the answers' values (standard deviation);
    most_frequent: the share of the most frequent answer; bias: the mean of the value less the others' mean for the image;
    agreement, low, high: Spearman's correlation with the others' mean (interval: Bonett and Wright 2000, Psychometrika 65,
    23-28), of names the mean share of the others who gave the same answer; odd: why this annotator stands out, else empty.
    """
    by = frame.groupby("annotator")
    rows = pd.DataFrame({"answers": by.size()})
    most = frame.groupby(["annotator", "answer"]).size().groupby("annotator").max()
    rows["most_frequent"] = most / rows["answers"]
    others = frame.groupby("image")["answer"].transform("size") - 1
    shared = frame[others > 0]
    rows["shared"] = shared.groupby("annotator").size().reindex(rows.index, fill_value=0)
    if are_numbers:
        rows["mean"], rows["spread"] = by["value"].mean(), by["value"].std()
        total = frame.groupby("image")["value"].transform("sum")
        shared = shared.assign(theirs=((total - frame["value"]) / others.clip(lower=1))[others > 0])
        rows["bias"] = (shared["value"] - shared["theirs"]).groupby(shared["annotator"]).mean()
        rows["agreement"] = correlate_ranks(shared)
        error = np.sqrt((1 + rows["agreement"] ** 2 / 2) / (rows["shared"] - 3).where(rows["shared"] > 3))
        reach = stats.norm.isf(LEVEL / 2) * error
        middle = np.arctanh(rows["agreement"].clip(-0.999999, 0.999999))
        rows["low"], rows["high"] = np.tanh(middle - reach), np.tanh(middle + reach)
    else:
        rows[["mean", "spread", "bias"]] = np.nan
        same = frame.groupby(["image", "answer"])["answer"].transform("size") - 1
        share = (same / others.clip(lower=1))[others > 0]
        grouped = share.groupby(shared["annotator"])
        rows["agreement"] = grouped.mean()
        reach = stats.norm.isf(LEVEL / 2) * grouped.std() / np.sqrt(grouped.size())
        rows["low"], rows["high"] = (
            (rows["agreement"] - reach).clip(lower=0),
            (rows["agreement"] + reach).clip(upper=1),
        )
    rows["odd"] = find_odd(rows)
    columns = [
        "answers",
        "shared",
        "mean",
        "spread",
        "most_frequent",
        "bias",
        "agreement",
        "low",
        "high",
        "odd",
    ]
    return rows[columns].sort_index().reset_index()


def correlate_ranks(shared):
    """Return each annotator's Spearman correlation of value and theirs; NaN where either is constant."""
    ranks = shared.groupby("annotator")[["value", "theirs"]].rank()
    ranks -= ranks.groupby(shared["annotator"]).transform("mean")
    sums = (
        ranks.assign(
            both=ranks["value"] * ranks["theirs"], one=ranks["value"] ** 2, other=ranks["theirs"] ** 2
        )
        .groupby(shared["annotator"])[["both", "one", "other"]]
        .sum()
    )
    product = np.sqrt(sums["one"] * sums["other"])
    return (sums["both"] / product.where(product > 0)).clip(-1, 1)


def find_odd(rows):
    """Return why each annotator stands out, in the order of `rows`, or an empty text."""
    judged = rows["shared"] >= LEAST
    middle = rows.loc[judged, "agreement"].median()
    constant = (rows["most_frequent"] == 1) & (rows["answers"] >= LEAST)
    against = judged & (rows["high"] < 0)
    apart = judged & (rows["high"] < middle / 2) & ~against
    odd = pd.Series("", rows.index)
    odd[apart] = "agrees with the others less than half as well as the median annotator"
    odd[against] = "answers the other way round than the others"
    odd[constant] = "gives one answer to all images"
    return odd


def measure_repeats(frame, are_numbers):
    """Return how alike the answers of one annotator to one image are, None where nobody answered an image twice.

    frame: image, annotator, answer, value; annotators that are not known (empty) are left out. pairs: of one annotator's
    answers to one image; equal: the share of equal ones, interval: Wilson's, of as many pairs as there are repeated images.
    """
    known = frame[frame["annotator"] != ""]
    cells = known.groupby(["image", "annotator"], sort=False)
    size = cells["answer"].transform("size")
    repeated = known[size > 1]
    if repeated.empty:
        return None
    counts = repeated.groupby(["image", "annotator", "answer"]).size()
    cell = counts.groupby(["image", "annotator"])
    number = cell.sum()
    pairs = number * (number - 1) / 2
    equal = (counts * (counts - 1) / 2).groupby(["image", "annotator"]).sum()
    share = float(equal.sum() / pairs.sum())
    difference = None
    if are_numbers:
        ordered = repeated.sort_values(["image", "annotator", "value"])
        place = ordered.groupby(["image", "annotator"]).cumcount()
        weight = 2 * place - (ordered.groupby(["image", "annotator"])["value"].transform("size") - 1)
        difference = float((weight * ordered["value"]).sum() / pairs.sum())  # of all pairs, by order
    return {
        "images": len(number),
        "pairs": int(pairs.sum()),
        "equal": share,
        "interval": wilson_interval(round(share * len(number)), len(number)),
        "mean_absolute_difference": difference,
    }
