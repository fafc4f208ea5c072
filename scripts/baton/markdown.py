"""Text as Markdown that shows it, whatever it holds."""

import html
import re


def escape_markdown(text: object) -> str:
    """Return text as Markdown in which no letter of it is markup, on one line, also in a table's cell."""
    # HTML, which Markdown takes as it stands, first.
    escaped = re.sub(r"([\\`*_{}\[\]()#+!|~$:@-])", r"\\\1", html.escape(str(text), quote=False))
    return " ".join(escaped.split())
