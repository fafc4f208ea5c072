"""The pictures of the report: figures as SVG and PNG, and the pictures of mistakes."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from baton.results import figures

THUMBNAIL = 96  # pixels
SAME_LINE = 0.005  # accuracies nearer to each other than this would be drawn as one line


def list_guesses(data):
    """Return [(accuracy, what reaches it)] of predictions made without looking; data: see report.collect.collect_data."""
    at_random = 1 / len(data["classes"])
    constant = max(row["test"] for row in data["classes"]) / data["sums"]["test"]
    guesses = [(at_random, f"guessing: {at_random:.3f}")]
    if constant - at_random > SAME_LINE:
        guesses.append((constant, f"the most frequent class always: {constant:.3f}"))
    return guesses


def mark_ceiling(ceiling):
    """Return {place, band, what} to be drawn beside the accuracies, None where there is nothing."""
    if ceiling["kind"] is None:
        return None
    if ceiling["kind"] == "bracket":
        low, high = ceiling["bracket"]
        return {
            "place": None,
            "band": ceiling["bracket"],
            "what": f"the best possible is within: {low:.2f} to {high:.2f}",
        }
    accuracy = ceiling["measures"]["accuracy"]
    if ceiling["kind"] == "benchmark":
        return {
            "place": accuracy["value"],
            "band": accuracy["interval"],
            "what": f"other annotators: {accuracy['value']:.2f}",
        }
    low, high = accuracy["band"]
    what = f"ceiling: about {accuracy['value']:.2f}; a perfect model: {low:.2f} to {high:.2f}"
    return {"place": accuracy["value"], "band": accuracy["band"], "what": what}


def draw_figures(done, arranged, confusion, data, folder):
    """Draw the figures of the finished runs into `folder`, all in one, and of each that is shown in detail its own.

    arranged: see report.collect.arrange; confusion: the matrix of each run that is shown in detail, by name; data: see
    report.collect.collect_data.
    """
    classes = [row["class"] for row in data["classes"]]
    detailed, place = arranged["detailed"], arranged["place"]
    labels = {run["model"]: str(place[run["model"]]) for run in detailed} if arranged["many"] else None
    (folder / "confusion").mkdir(parents=True, exist_ok=True)
    by_model: dict[str, list] = {}
    for run in detailed:
        by_model.setdefault(run["model"], []).append((run["test"]["accuracy"], *run["test"]["interval"]))
    rows = [
        {"name": name, "accuracy": sum(accuracy for accuracy, *_ in seeds) / len(seeds), "seeds": seeds}
        for name, seeds in by_model.items()
    ]
    figures.save_figure(
        figures.draw_accuracies(rows, list_guesses(data), mark_ceiling(data["ceiling"])),
        folder / "accuracy.svg",
    )
    figures.save_figure(
        figures.draw_cost(
            [
                {
                    "name": run["model"],
                    "parameters": run["training"]["parameters"],
                    "accuracy": run["test"]["accuracy"],
                    "low": run["test"]["interval"][0],
                    "high": run["test"]["interval"][1],
                }
                for run in done
            ],
            labels,
        ),
        folder / "accuracy_parameters.svg",
    )
    bins = [run["test"]["calibration"]["bins"] for run in detailed]
    names = [run["name"] for run in detailed]
    figures.save_figure(figures.draw_reliability(bins, names), folder / "reliability.svg")
    for run in detailed:
        figure = figures.draw_confusion(confusion[run["name"]], classes, run["name"])
        figures.save_figure(figure, folder / f"confusion/{run['name']}.svg")


def as_data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def embed_svg(path):
    """Return an SVG file as a data URI: an image of its own, whose ids and styles meet no other's."""
    return as_data_uri("image/svg+xml", Path(path).read_bytes())


def thumbnail(pixels):
    """Return a (size, size, 3) uint8 array as a small JPEG in a data URI."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return as_data_uri("image/jpeg", content.getvalue())


def list_mistakes(run, images, pixels, classes):
    """Return the run's most confident mistakes: file, true and predicted class, confidence, thumbnail or None.

    images: the test images' names; pixels: their (n, size, size, 3) array, None for no pictures.
    """
    return [
        {
            "file": images[mistake["index"]],
            "true": classes[mistake["true"]],
            "predicted": classes[mistake["predicted"]],
            "confidence": mistake["confidence"],
            "picture": None if pixels is None else thumbnail(pixels[mistake["index"]]),
        }
        for mistake in run["test"]["mistakes"]
    ]
