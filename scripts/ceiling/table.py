"""The answers of a study as counts, for each image and category."""

import numpy as np

from baton.data.labels import normalize_label, sort_labels
from baton.formatting import as_number

MOST_CATEGORIES = 101  # of numbers: more are a continuous scale, and are binned
TAIL = (
    0.001  # of the answers at either end of such a scale share the last bin: one may be a slip of 550 for 55
)
# Annotators with a bias each: more are any of many, and the bias of one who answered few images cannot be told from chance.
MOST_ANNOTATORS, LEAST_ANSWERS = 12, 30


def list_few(answers):
    """Return the annotators, sorted, where they are few enough to tell each one's bias, else None."""
    counts = answers.loc[answers["image"].duplicated(keep=False), "annotator"].value_counts()
    if "" in counts.index or not 1 < len(counts) <= MOST_ANNOTATORS or counts.min() < LEAST_ANSWERS:
        return None
    return sorted(answers["annotator"].unique())


def list_named(classes):
    """Return the labels that data.classes names, in its order."""
    named = (
        classes if isinstance(classes, list) else [old for olds in (classes or {}).values() for old in olds]
    )
    return [normalize_label(label) for label in named]


def keep_placed(answers, classes):
    """Return the answers that have a place on a scale: numbers, or, where some are none, those that data.classes names."""
    are_numbers = answers["answer"].map(as_number).notna()
    if are_numbers.all():
        return answers
    return answers[answers["answer"].isin(list_named(classes)) if classes else are_numbers]


class Table:
    """The categories of answers: texts; values, None of names; order, the places that names have in data.classes, else values.

    answers: with the columns image and answer; data: of the config; ordered: whether the classes are places on a scale.
    """

    def __init__(self, answers, data, ordered):
        self.categories = sort_labels(answers["answer"].unique())
        self.values = self.order = self.step = None
        numbers = [as_number(label) for label in self.categories]
        if None not in numbers:
            self.values = np.array(numbers, float)
            if len(numbers) > MOST_CATEGORIES:
                ends = answers["answer"].map(as_number).astype(float).quantile([TAIL, 1 - TAIL])
                self.values = np.linspace(*ends, MOST_CATEGORIES)
                self.step = self.values[1] - self.values[0]
                self.categories = [repr(float(value)) for value in self.values]
            self.order = self.values if ordered and len(numbers) > 1 else None
        elif ordered:
            self._order_names(data["classes"])

    def _order_names(self, classes):
        named = list_named(classes)
        if set(self.categories) <= set(named) and len(self.categories) > 1:
            self.categories = [label for label in named if label in set(self.categories)]
            self.order = np.arange(len(self.categories), dtype=float)

    def number(self, answers):
        """Return the category of each answer, (answers,)."""
        if self.step is not None:
            values = answers["answer"].map(as_number).to_numpy(float)
            return np.rint((values - self.values[0]) / self.step).clip(0, MOST_CATEGORIES - 1).astype(int)
        return (
            answers["answer"].map({label: place for place, label in enumerate(self.categories)}).to_numpy(int)
        )

    def place(self, answers):
        """Return where each answer is on the scale, (answers,)."""
        return self.order[self.number(answers)]

    def count(self, answers, annotators=None):
        """Return counts of answers, (images, annotators, categories); annotators: None for one of all."""
        image, images = answers["image"].factorize()
        who = np.zeros(len(answers), int)
        if annotators:
            who = (
                answers["annotator"].map({name: place for place, name in enumerate(annotators)}).to_numpy(int)
            )
        counts = np.zeros((len(images), len(annotators or [None]), len(self.categories)), np.int32)
        np.add.at(counts, (image, who, self.number(answers)), 1)
        return counts
