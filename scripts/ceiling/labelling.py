"""How a study makes labels of answers, for a table of counts of answers: many images, or many imagined ones, at once."""

import math

import numpy as np
import pandas as pd


def sum_classes(counts, of_answers, classes):
    """Return how many answers are of each class, (..., classes); counts: (..., categories); of_answers: see Labelling."""
    of_class = np.zeros((len(of_answers), classes), np.float32)
    known = np.flatnonzero(of_answers >= 0)
    of_class[known, of_answers[known]] = 1
    return counts @ of_class


class Labelling:
    """What data.combine and data.classes make of answers.

    combine: "median", "mean", "majority" or "majority_of_labels"; chosen: a Classes (annotations.classes); classes: the
    study's, in the order of their indices; answers: the categories of answers, texts; values: their numbers, None where they
    are none. of_answers: the class index of each category, (categories,), -1 where it has none.
    """

    def __init__(self, combine, chosen, classes, answers, values=None):
        self.combine, self.chosen, self.values = combine, chosen, values
        self.index = {label: index for index, label in enumerate(classes)}
        self.of_answers = self._index(chosen.of(pd.Series(list(answers), dtype=object)))
        # What stands for itself in a vote: each class, and each answer that is of none.
        own = self.of_answers if combine == "majority" else np.full(len(answers), -1)
        self.candidates = np.where(own < 0, len(classes) + np.arange(len(answers)), own)

    def label(self, counts):
        """Return the class index, -1 for none, of each row of counts of answers, (rows, categories)."""
        if self.combine == "mean":
            return self._label_numbers(counts @ self.values / counts.sum(axis=1))
        if self.combine == "median":
            reached, number = counts.cumsum(axis=1), counts.sum(axis=1, keepdims=True)
            low = self.values[(reached >= (number + 1) // 2).argmax(axis=1)]
            high = self.values[(reached >= number // 2 + 1).argmax(axis=1)]
            return self._label_numbers((low + high) / 2)
        names, column = np.unique(self.candidates, return_inverse=True)
        votes = counts @ np.eye(len(names), dtype=counts.dtype)[column]
        most = votes.max(axis=1, keepdims=True)
        winner = names[votes.argmax(axis=1)]
        classes = winner if self.combine == "majority" else self.of_answers[winner - len(self.index)]
        known = (classes >= 0) & (classes < len(self.index)) & ((votes == most).sum(axis=1) == 1)
        return np.where(known, classes, -1)

    def _label_numbers(self, combined):
        distinct, place = np.unique(combined, return_inverse=True)
        if self.chosen.ranges:
            return self._index(self.chosen.cut(pd.Series(distinct)))[place]
        whole = pd.Series([str(math.floor(value + 0.5)) for value in distinct], dtype=object)
        return self._index(self.chosen.of(whole))[place]

    def _index(self, classes):
        return np.array([self.index.get(label, -1) for label in classes])
