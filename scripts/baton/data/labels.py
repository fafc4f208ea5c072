"""Class labels: how they are compared and ordered."""

from decimal import Decimal

from baton.formatting import as_number


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
