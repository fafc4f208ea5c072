"""How the report shows values: on the page, and as rows of its CSV files."""

from markupsafe import Markup, escape

from baton.formatting import decimals, duration, file_size, p_value, percent
from baton.study.labels import describe_class
from report.draw import embed_svg

# Of a run, in models.csv.
SETTINGS = (
    "size",
    "synthetic_fraction",
    "kernels",
    "kernel_size",
    "layers",
    "dense",
    "batch_size",
    "learning_rate",
    "l2",
    "dropout",
    "initializer",
    "stddev",
    "class_weights",
    "monitor",
    "patience",
)


def number(value):
    """Return a count with its thousands set apart (by a narrow space, which no language reads as a point)."""
    return f"{value:,}".replace(",", "\u202f")


def roughly(count):
    """Return a count to two significant digits: more would claim to know."""
    return int(float(f"{count:.1e}"))


def breakable(name):
    """Return a long name as HTML that may break into a new line after each of its words."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def shares(confusion):
    """Return the confusion matrix as rows of (count, share of the row's images)."""
    return [[(count, count / max(sum(row), 1)) for count in row] for row in confusion]


def table_of_models(done):
    """Return one row per finished run for models.csv."""
    rows = []
    for run in done:
        training, test, ordered = run["training"], run["test"], run["test"]["ordered"]
        settings = training["settings"]
        row = {key: run[key] for key in ("name", "model", "seed")}
        row |= {key: settings[key] for key in SETTINGS} | {"targets": settings.get("targets", "label")}
        row |= {"parameters": training["parameters"], "model_bytes": test["model_bytes"]}
        row |= {"epochs": training["epochs"], "kept_epoch": training["kept"]["epoch"]}
        row |= {"validation_accuracy": training["kept"]["val_accuracy"], "test_images": test["images"]}
        row |= {
            "accuracy": test["accuracy"],
            "accuracy_low": test["interval"][0],
            "accuracy_high": test["interval"][1],
        }
        row |= {key: test[key] for key in ("balanced_accuracy", "macro_f1", "log_loss", "top_2_accuracy")}
        row["share_of_way_to_ceiling"] = test["way"]["value"] if test["way"] else None
        row["expected_calibration_error"] = test["calibration"]["expected_calibration_error"]
        row["verdict"] = test["answers"]["verdict"]
        for key in ("mean_absolute_error", "within_one", "quadratic_kappa", "spearman"):
            row[key] = ordered[key]["value"] if ordered else None
        against = test["against_answers"] or {}
        for key in ("log_loss", "earth_movers_distance", "spearman_of_mean"):
            row[f"answers_{key}"] = against[key]["value"] if against.get(key) else None
        row |= {"training_seconds": training["seconds"], "sessions": len(training["sessions"])}
        row |= {f"milliseconds_batch_{size}": value for size, value in test["milliseconds"].items()}
        rows.append(row)
    return rows


def table_of_pairs(compared):
    """Return one row per pair of models for pairs.csv."""
    return [
        {"first": pair["models"][0], "second": pair["models"][1]}
        | {key: pair[key] for key in ("difference", "standard_error", "p", "p_holm", "different")}
        for pair in compared["pairs"]
    ]


FILTERS = {
    "breakable": breakable,
    "describe_class": describe_class,
    "decimals": decimals,
    "duration": duration,
    "embed_svg": embed_svg,
    "file_size": file_size,
    "number": number,
    "p_value": p_value,
    "percent": percent,
    "roughly": roughly,
    "shares": shares,
}
