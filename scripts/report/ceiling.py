"""What the report says of the best that any model could reach: the ceiling, a benchmark instead, or a bracket."""

import numpy as np
from scipy import stats

from baton.formatting import decimals, percent
from report.show import number

DRAWS, SEED, LEVEL = 20_000, 1, 0.05
# As the page has them: the name, and where a run's value is, by way of its test.
MEASURES = {
    "accuracy": ("accuracy", ("accuracy",)),
    "mean_absolute_error": ("mean absolute error", ("ordered", "mean_absolute_error", "value")),
    "quadratic_kappa": ("kappa, quadratic weights", ("ordered", "quadratic_kappa", "value")),
    "spearman": ("Spearman’s rho", ("ordered", "spearman", "value")),
    "log_loss": ("log loss against the answers", ("against_answers", "log_loss", "value")),
    "earth_movers_distance": (
        "earth mover’s distance to the answers, in classes",
        ("against_answers", "earth_movers_distance", "value"),
    ),
    "spearman_of_mean": (
        "Spearman’s rho of the expected class and the mean answer",
        ("against_answers", "spearman_of_mean", "value"),
    ),
}


def guess(test):
    """Return the accuracy of the best prediction made without looking; test: of a run."""
    return max(test["chance"], test["majority"])


def measure_way(accuracy, interval, chance, ceiling):
    """Return {value, interval} of how far an accuracy is from chance to the ceiling, as a share; None where that is no way.

    interval: of the accuracy; ceiling: of ceiling.json. The interval is of draws of both, normal as their intervals are wide.
    None where the ceiling itself is not shown to be above chance. The value is from 0 to 1: none is above the ceiling, and what is
    right less often than chance has gone none of the way.
    """
    if ceiling["kind"] != "ceiling":
        return None
    found = ceiling["measures"]["accuracy"]
    if found["interval"][0] <= chance or found["value"] <= chance:
        return None
    random = np.random.default_rng(SEED)
    wide = 2 * stats.norm.isf(LEVEL / 2)

    def draw(middle, ends):
        return random.normal(middle, (ends[1] - ends[0]) / wide, DRAWS)

    high = draw(found["value"], found["interval"])
    ways = (draw(accuracy, interval) - chance) / np.maximum(high - chance, 1e-9)
    low, high = np.quantile(ways, [LEVEL / 2, 1 - LEVEL / 2])
    return {
        "value": float(np.clip((accuracy - chance) / (found["value"] - chance), 0, 1)),
        "interval": np.clip([low, high], 0, 1).tolist(),
    }


def state_ceiling(done, compared, ceiling):
    """Return in a sentence or two where the most accurate model is between chance and the best possible, or an empty text.

    done: the finished runs; compared: see baton.results.comparison.compare; ceiling: of ceiling.json.
    """
    if not done or ceiling["kind"] is None:
        return ""
    best = compared["models"][0]
    runs = [run for run in done if run["model"] == best["model"]]
    images, chance = number(runs[0]["test"]["images"]), guess(runs[0]["test"])
    where = f"{best['model']} is right about {decimals(best['accuracy'], 2)}; chance is {decimals(chance, 2)}"
    if ceiling["kind"] == "bracket":
        low, high = (f"{end:.2f}" for end in ceiling["bracket"])
        return f"{where}, and the best that these answers allow lies about between {low} and {high} (leave-one-out to plug-in)."
    accuracy = ceiling["measures"]["accuracy"]
    if ceiling["kind"] == "benchmark":
        low, high = (f"{end:.2f}" for end in accuracy["interval"])
        return (
            f"{where}, and the other annotators predict these labels with {accuracy['value']:.2f} ({low} to {high}): "
            "a benchmark and no ceiling, as a model may learn the person."
        )
    low, high = (f"{end:.2f}" for end in accuracy["band"])
    sentences = [
        f"{where}, the ceiling of these labels about {accuracy['value']:.2f}, and a perfect model would be between "
        f"{low} and {high} on {images} test images."
    ]
    interval = np.mean([run["test"]["interval"] for run in runs], axis=0)
    way = measure_way(best["accuracy"], interval, chance, ceiling)
    if accuracy["band"][0] <= chance:
        sentences.append("On so few images even a perfect model may do no better than chance.")
    if way is None:
        sentences.append("That is too near to chance for these answers to show how much there is to learn.")
    elif best["accuracy"] >= accuracy["band"][0]:
        sentences.append("It cannot be told from a perfect one on so few images.")
    if way is not None and way["value"] <= 0:
        sentences.append("It has gone none of the way from chance to the ceiling.")
    elif way is not None:
        low, high = (percent(end) for end in way["interval"])
        sentences.append(
            f"That is {percent(way['value'])} % of the way from chance to the ceiling ({low} to {high} %)."
        )
    sentences.append(f"With twice the answers, the ceiling would be about {ceiling['twice']:.2f}.")
    return " ".join(sentences)


def list_measures(done, ceiling):
    """Return a row for each measure of the ceiling: name, value, interval, band, and the best of the finished runs or None."""
    rows = []
    for key, (name, path) in MEASURES.items():
        if key in ceiling["measures"]:
            found = [_look_up(run["test"], path) for run in done]
            values = [value for value in found if value is not None]
            lower = key in ("mean_absolute_error", "log_loss", "earth_movers_distance")
            best = (min if lower else max)(values) if values else None
            rows.append({"name": name, "best": best, **ceiling["measures"][key]})
    return rows


def _look_up(values, path):
    for key in path:
        values = values.get(key) if values else None
    return values
