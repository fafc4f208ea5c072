"""The figures of a study, each as SVG and PNG, the same bytes from the same numbers."""

import math
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TRAINING, VALIDATION = "tab:red", "tab:blue"


def save_figure(figure, svg):
    """Save `figure` as `svg` and, beside it, as PNG; without dates and with ids that follow from the content."""
    with rc_context({"svg.hashsalt": "baton"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(Path(svg).with_suffix(".png"), dpi=150, metadata={"Software": None})


def draw_curves(history, best_epoch, begun, title):
    """Return loss and accuracy of each epoch: training red, validation blue, the kept epoch dotted.

    history: a row an epoch (epoch, loss, val_loss, accuracy, val_accuracy); begun: where in the
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
        axes.set_title(title, parse_math=False, fontsize="medium")
    grid[0].legend(fontsize="small", loc="upper left")
    return figure


def draw_cost(runs):
    """Return accuracy against parameters, with intervals, so that a small model that does as well is seen.

    runs: dictionaries of name (of the model, which its seeds share), parameters, accuracy, low and high.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    sizes = [run["parameters"] for run in runs]
    middle = math.sqrt(min(sizes) * max(sizes))  # of the logarithmic axis
    labelled = set()
    for run in runs:
        spread = [[run["accuracy"] - run["low"]], [run["high"] - run["accuracy"]]]
        axes.errorbar(run["parameters"], run["accuracy"], spread, fmt="o", color=VALIDATION, capsize=3)
        if run["name"] in labelled:  # another seed, at the same place or nearly
            continue
        labelled.add(run["name"])
        left = run["parameters"] > middle  # towards the middle, where there is room
        axes.annotate(
            run["name"],
            (run["parameters"], run["accuracy"]),
            xytext=(-6 if left else 6, 4),
            ha="right" if left else "left",
            textcoords="offset points",
            fontsize="small",
            parse_math=False,
        )
    axes.set(xscale="log", xlabel="parameters", ylabel="test accuracy, 95 % interval")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
    return figure


def draw_confusion(confusion, classes, title):
    """Return a confusion matrix: rows are true classes, columns what the model says, shaded by the row's share."""
    counts = np.asarray(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.8 + 0.5 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        shade = "white" if share[row, column] > 0.6 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize="small")
    places = range(len(classes))
    names = [label if len(label) <= 20 else f"{label[:19]}…" for label in classes]
    axes.set(xlabel="the model says", ylabel="true class", xticks=places, yticks=places)
    for ticks in (axes.set_xticklabels(names, rotation=90), axes.set_yticklabels(names)):
        for tick in ticks:
            tick.set_parse_math(False)
    axes.set_title(title, parse_math=False, fontsize="medium")
    return figure
