"""The table of the models to put into a paper: as LaTeX and as Markdown."""

import string

from baton.formatting import decimals
from baton.markdown import escape_markdown
from baton.results.comparison import LETTERED

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}


def escape_latex(text):
    """Return text as LaTeX that prints it."""
    return "".join(LATEX.get(letter, letter) for letter in str(text))


def list_rows(done, compared):
    """Return the header and a row of text for each finished run: what a paper's table of the models says.

    done: the finished runs; compared: see baton.results.comparison.compare.
    """
    several_seeds = len({run["seed"] for run in done}) > 1
    lettered = compared["groups"] is not None and len(compared["models"]) > 1
    letters = {
        row["model"]: "".join(string.ascii_uppercase[:LETTERED][group - 1] for group in row["groups"]) or "–"
        for row in compared["models"]
        if lettered
    }
    header = [
        "Model",
        *(["Seed"] if several_seeds else []),
        "Parameters",
        "Validation accuracy",
        "Test accuracy",
    ]
    header += ["95 % interval", "Balanced accuracy", "F1", *(["Group"] if lettered else [])]
    rows = []
    for run in done:
        training, test = run["training"], run["test"]
        low, high = test["interval"]
        rows.append(
            [
                run["model"],
                *([str(run["seed"])] if several_seeds else []),
                f"{training['parameters']:,}",
                decimals(training["kept"]["val_accuracy"]),
                decimals(test["accuracy"]),
                f"{decimals(low)} to {decimals(high)}",
                decimals(test["balanced_accuracy"]),
                decimals(test["macro_f1"]),
                *([letters[run["model"]]] if lettered else []),
            ]
        )
    return header, rows


def write_latex(header, rows, caption):
    """Return a table that compiles without packages; its numbers stand to the right."""
    columns = "l" + "r" * (len(header) - 1)
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape_latex(caption)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\hline",
        " & ".join(map(escape_latex, header)) + r" \\",
        "\\hline",
        *(" & ".join(map(escape_latex, row)) + r" \\" for row in rows),
        "\\hline",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def write_markdown(header, rows, caption):
    lines = [
        "| " + " | ".join(header) + " |",
        "| --- |" + " ---: |" * (len(header) - 1),
        *("| " + " | ".join(map(escape_markdown, row)) + " |" for row in rows),
    ]
    return "\n".join(lines) + f"\n\n{escape_markdown(caption)}\n"


def write_caption(compared, images):
    """Return what the table shows; images: how many it was tested on."""
    caption = f"Accuracy of the models on {images:,} test images, with 95 % intervals of Wilson."
    if compared["groups"] is not None and len(compared["models"]) > 1:
        caption += " Models that share a letter cannot be distinguished."
    return caption
