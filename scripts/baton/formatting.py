"""Numbers as people read and write them, in the report, on the terminal and in tables."""

import math
import re

MORE_PLACES = 2
# What Python's float() takes beyond this is no number to a reader: "2024_01" is a month.
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
MOST_NUMBERED = 40  # classes of a confusion matrix that has its counts written into it


def decimals(value: float | None, places: int = 3, most: float = 1) -> str:
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
    bound = end - math.copysign(10**-shown, value) if end else math.copysign(10**-shown, value)
    return f"{'<' if bound > value else '>'} {bound:.{shown}f}"


def percent(share: float, places: int = 0) -> str:
    """Return a share in per cent, without the sign, as `decimals` does."""
    return decimals(100 * share, places, most=100)


def p_value(p: float) -> str:
    """Return a p value to four decimals, or "< 0.0001" or "> 0.9999"; only 1 is printed as 1."""
    if p < 0.0001:
        return "< 0.0001"
    return "> 0.9999" if 0.9999 < p < 1 else f"{p:.4f}"


def duration(seconds: float) -> str:
    """Return a number of seconds as people say it: 0.05 s, 4.2 s, 42 s, 3 min 05 s, 12 min, 2 h 10 min."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def file_size(count: float) -> str:
    """Return a number of bytes as people say it: 300 bytes, 12 kB, 3.45 MB, 120 MB, 1.2 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        value = count / factor
        if value >= 0.9995:
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"
    return f"{count:.0f} bytes"


def as_number(text: str) -> float | None:
    """Return the finite number that `text` spells, or None."""
    if not NUMBER.fullmatch(text.strip()):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
