"""Class labels: how they are compared and ordered."""

import math
import re
from decimal import Decimal

# What Python's float() takes beyond this is no number to a reader: "2024_01" is a month.
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def as_number(text):
    """Return the finite number that `text` spells, or None."""
    if not NUMBER.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def normalize_label(value):
    """Return a label as text; a whole number loses its decimals, so that "3.0", "03" and 3 are one label."""
    text = str(value).strip()
    number = as_number(text)
    if number is None:
        return text
    # Decimal: float has 15 digits, and an identifier may have more.
    exact = Decimal(text)
    return str(int(exact)) if exact == exact.to_integral_value() else repr(number)


def sort_labels(labels):
    """Return the distinct labels in order: as numbers where all of them are (1, 2, ..., 10), else as text."""
    labels = sorted(set(labels))
    if all(as_number(label) is not None for label in labels):
        labels.sort(key=float)
    return labels
