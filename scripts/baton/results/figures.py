"""The figures of a study, each as SVG and PNG, the same bytes from the same numbers."""

import math
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from baton.formatting import MOST_NUMBERED

TRAINING, VALIDATION, CEILING = "tab:red", "tab:blue", "tab:green"
MOST_NAMED = 120  # classes on an edge of a confusion matrix


def save_figure(figure, svg):
    """Save `figure` as `svg` and, beside it, as PNG; without dates and with ids that follow from the content."""
    with rc_context({"svg.hashsalt": "baton"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.set_layout_engine("none")  # it is laid out, which takes as long as drawing it
    figure.savefig(Path(svg).with_suffix(".png"), dpi=150, metadata={"Software": None})


def fold(name, width):
    """Return a name in lines of about `width` letters, parted where one word of it ends; a short one as it is."""
    lines = [""]
    for word in re.findall(r"[^_ ]+[_ ]*|[_ ]+", name):
        if lines[-1] and len(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def draw_curves(history, best_epoch, begun, title):
    """Return loss and accuracy of each epoch: training red, validation blue, the kept epoch dotted.

    history: one row per epoch (epoch, loss, val_loss, accuracy, val_accuracy); begun: where in the
    epochs a session began after an interruption, marked on the lower edge.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for key, label, colour in ((name, "training", TRAINING), (f"val_{name}", "validation", VALIDATION)):
            axes.plot(epochs, [row[key] for row in history], "o-", color=colour, markersize=3, label=label)
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss, accuracy = figure.axes
    accuracy.set_ylim(-0.02, 1.02)
    losses = [row[key] for row in history for key in ("loss", "val_loss") if row[key] > 0]
    # Weights as large as the study's start at a loss that would flatten all that follows.
    if losses and max(losses) > 20 * min(losses):
        loss.set(yscale="log", title="loss (log scale)")
    for axes in figure.axes:
        if begun:
            foot = axes.get_xaxis_transform()
            axes.plot(
                begun,
                [0.02] * len(begun),
                "^",
                color="black",
                markersize=5,
                transform=foot,
                label="new session",
            )
    # Below, where it hides nothing: matplotlib does not see the marks on the edge when it looks for a place.
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.suptitle(title, parse_math=False)
    return figure


def draw_reliability(tables, titles):
    """Return a reliability diagram for each model: accuracy against confidence, and how many images are where.

    tables: for each model a list of bins with count, confidence and accuracy (None in an empty bin).
    """
    columns = min(3, len(tables))
    rows = -(-len(tables) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(tables) :]:
        axes.set_visible(False)
    for axes, table, title in zip(grid, tables, titles, strict=False):
        filled = [row for row in table if row["count"]]
        images = sum(row["count"] for row in filled)
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
        axes.bar(
            [row["confidence"] for row in filled],
            [row["count"] / images for row in filled],
            width=0.06,
            color="lightgrey",
            label="share of images",
        )
        axes.plot(
            [row["confidence"] for row in filled],
            [row["accuracy"] for row in filled],
            "o-",
            color=VALIDATION,
            markersize=4,
            label="accuracy",
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence")
        axes.tick_params(labelbottom=True)
        axes.set_title(fold(title, 32), parse_math=False, fontsize="medium")
    grid[0].legend(fontsize="small", loc="upper left")
    return figure


def draw_accuracies(models, guessing, ceiling=None):
    """Return a row for each model, from the top down: the accuracy of each of its seeds with its interval.

    models: dictionaries of name, accuracy (the mean of the seeds) and seeds, a list of (accuracy, low, high); guessing:
    [(accuracy, what reaches it without looking)], a line for each; ceiling: {place, band, what} of the best possible accuracy:
    a line, None for none, and the band (low, high) that it is in.
    """
    seeds = max(len(model["seeds"]) for model in models)
    apart = min(0.18, 0.6 / seeds)
    figure = Figure(figsize=(5, 1.35 + len(models) * max(0.36, 0.16 * seeds)), layout="constrained")
    axes = figure.subplots()
    for (place, what), style in zip(guessing, ("--", ":"), strict=False):
        axes.axvline(place, color="dimgrey", linestyle=style, linewidth=1.2, label=what)
    if ceiling:
        axes.axvspan(*ceiling["band"], color=CEILING, alpha=0.13, linewidth=0, label=ceiling["what"])
        if ceiling["place"] is not None:
            axes.axvline(ceiling["place"], color=CEILING, linewidth=1.2)
    for row, model in enumerate(models):
        for number, (accuracy, low, high) in enumerate(model["seeds"]):
            height = row + apart * (number - (len(model["seeds"]) - 1) / 2)
            axes.plot([low, high], [height, height], "-", color=VALIDATION, linewidth=2.2, alpha=0.45)
            axes.plot([accuracy], [height], "o", color=VALIDATION, markersize=5 if seeds > 1 else 6.5)
        if len(model["seeds"]) > 1:
            axes.plot([model["accuracy"]], [row], "|", color="black", markersize=15, markeredgewidth=1.8)
    names = [fold(model["name"], 24) for model in models]
    axes.set_yticks(range(len(models)), names)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.set(ylim=(len(models) - 0.5, -0.5), xlabel="test accuracy, 95 % interval")
    ends = [end for model in models for seed in model["seeds"] for end in seed] + [
        place for place, _ in guessing
    ]
    ends += ceiling["band"] if ceiling else []
    margin = max(0.02, 0.06 * (max(ends) - min(ends)))
    axes.set_xlim(max(-0.01, min(ends) - margin), min(1.01, max(ends) + margin))
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if guessing or ceiling:
        columns = 1 if ceiling else 2
        figure.legend(loc="outside lower center", ncols=columns, fontsize="small", frameon=False)
    return figure


def draw_cost(runs, labels=None):
    """Return accuracy against parameters, with intervals, so that a small model that does as well is seen.

    runs: dictionaries of name (of the model, which its seeds share), parameters, accuracy, low and high. labels: of
    many models, a short text for each that is labelled, by name; the others are pale dots.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    many: dict[str, Any] = {}
    if labels is not None:
        others = [run for run in runs if run["name"] not in labels]
        axes.plot(
            [run["parameters"] for run in others],
            [run["accuracy"] for run in others],
            "o",
            color="grey",
            alpha=0.35,
            markersize=4,
            markeredgewidth=0,
        )
        runs = [run for run in runs if run["name"] in labels]
        many = {"alpha": 0.7, "markersize": 4, "elinewidth": 0.8}
    annotations = {}
    for run in runs:
        spread = [[run["accuracy"] - run["low"]], [run["high"] - run["accuracy"]]]
        axes.errorbar(
            run["parameters"], run["accuracy"], spread, fmt="o", color=VALIDATION, capsize=3, **many
        )
        if run["name"] in annotations:  # another seed, at the same place or nearly
            continue
        annotations[run["name"]] = axes.annotate(
            fold(run["name"], 24) if labels is None else labels[run["name"]],
            (run["parameters"], run["accuracy"]),
            xytext=(0, 0),
            va="center",
            textcoords="offset points",
            fontsize="small",
            parse_math=False,
            in_layout=False,  # else the axes would move with it
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "grey", "shrinkA": 0, "shrinkB": 2},
        )
    axes.set(xscale="log", xlabel="parameters", ylabel="test accuracy, 95 % interval")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
    place_labels(figure, list(annotations.values()), runs)
    return figure


def place_labels(figure, texts, runs):
    """Move each label to the nearest place by its dot where it lies on no other label, no dot and no interval.

    Where there is no such place, on an interval; at worst, on a dot.
    """
    figure.draw_without_rendering()  # only then is it known where all is
    (axes,) = figure.axes
    occupied: list[Bbox] = []
    frame, to_pixels = axes.bbox, axes.transData.transform
    dots = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in to_pixels([text.xy for text in texts])]
    ends = [to_pixels([(run["parameters"], run[end]) for end in ("low", "high")]) for run in runs]
    intervals = [Bbox([low - (2, 0), high + (2, 0)]) for low, high in ends]
    turns = [math.radians(degrees) for degrees in (30, 150, 330, 210, 60, 120, 300, 240, 90, 270)]
    places = [(away * math.cos(turn), away * math.sin(turn)) for away in range(8, 60, 8) for turn in turns]

    def is_free(text, place, filled):
        text.xyann = place
        text.set_horizontalalignment("left" if place[0] > 1 else "right" if place[0] < -1 else "center")
        text.get_window_extent()  # with its line, and moves it
        box = Text.get_window_extent(text)
        inside = frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 and box.y1 < frame.y1
        return inside and not any(box.overlaps(other) for other in filled)

    for text in texts:
        for filled, place in product((dots + intervals, dots, []), places):
            if is_free(text, place, occupied + filled):
                break
        occupied.append(Text.get_window_extent(text))


def draw_confusion(confusion, classes, title):
    """Return a confusion matrix: rows are true classes, columns what the model predicts, shaded by the row's share.

    Of many classes it has no numbers, and one size; of hundreds, only some are named on its edges.
    """
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    numbered = len(classes) <= MOST_NUMBERED
    side = 1.8 + 0.5 * len(classes) if numbered else 16
    figure = Figure(figsize=(side, side if numbered else 14.5), layout="constrained")
    axes = figure.subplots()
    heat = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if numbered:
        for (row, column), count in np.ndenumerate(counts):
            shade = "white" if share[row, column] > 0.6 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize="small")
    else:
        figure.colorbar(heat, label="share of the true class's images", shrink=0.6)
    places = range(0, len(classes), math.ceil(len(classes) / MOST_NAMED))
    names = [label if len(label) <= 20 else f"{label[:19]}…" for label in (classes[i] for i in places)]
    axes.set(xlabel="predicted class", ylabel="true class", xticks=places, yticks=places)
    size = "medium" if numbered else min(10, 620 / len(names))  # points; an edge has about 800
    for ticks in (
        axes.set_xticklabels(names, rotation=90, fontsize=size),
        axes.set_yticklabels(names, fontsize=size),
    ):
        for tick in ticks:
            tick.set_parse_math(False)
    axes.set_title(fold(title, 7 * side), parse_math=False, fontsize="medium")
    return figure
