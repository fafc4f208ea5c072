"""Text as Markdown that shows it, whatever it holds."""

import re


def escape_markdown(text: object) -> str:
    """Return text as Markdown in which no letter of it is markup, on one line, also in a table's cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~&$:@-])", r"\\\1", str(text))
    return " ".join(escaped.split())
