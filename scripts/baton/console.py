"""What people read, in the report and on the terminal: numbers, and a few of many names."""

from math import copysign

MORE_PLACES = 2
MOST_NUMBERED = 40  # classes of a confusion matrix that has its counts written into it


def decimals(value, places=3, most=1):
    """Return a number with fixed decimals (never -0.000), a dash for None.

    A share that is nearly 0 or nearly all (`most`, or its negative) is not printed as if it were: it gets up to two
    more decimals ("0.9997"), and beyond them a bound ("> 0.99999").
    """
    if value is None:
        return "–"
    for shown in range(places, places + MORE_PLACES + 1):
        text = f"{value:z.{shown}f}"
        end = float(text)
        # Closer than this to an end is rounding; beyond the end it is no share.
        if abs(end) not in (0, most) or abs(value - end) < 1e-12 or abs(value) > most:
            return text
    bound = end - copysign(10**-shown, value) if end else copysign(10**-shown, value)
    return f"{'<' if bound > value else '>'} {bound:.{shown}f}"


def percent(share, places=0):
    """Return a share in per cent, without the sign, as `decimals` does."""
    return decimals(100 * share, places, most=100)


def some(items, most=5):
    """Return a few of `items` as text, and how many more there are."""
    items = [str(item) for item in items]
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def p_value(p):
    """Return a p value to four decimals, or "< 0.0001" or "> 0.9999"; only 1 is printed as 1."""
    if p < 0.0001:
        return "< 0.0001"
    return "> 0.9999" if 0.9999 < p < 1 else f"{p:.4f}"
