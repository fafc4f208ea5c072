"""The text of a config file, line by line, in which nothing that was read becomes YAML of another meaning."""

import re

from baton.study.spelling import FILL_IN, NULL

PLAIN = re.compile(r"[A-Za-z0-9_./][\w./-]*( [\w./-]+)*", re.ASCII)
WIDTH = 118


class ConfigText:
    """Lines of YAML. open: how many are to be filled in."""

    def __init__(self):
        self.lines, self.open = [], 0

    def __str__(self):
        return "\n".join(self.lines) + "\n"

    def blank(self):
        self.lines.append("")

    def comment(self, text, indent=0):
        """Add a comment, in lines of a readable width."""
        prefix = f"{' ' * indent}# "
        room, line = WIDTH - len(prefix), ""
        lead = len(text) - len(text.lstrip())
        for word in "".join(letter if letter.isprintable() else " " for letter in text).split():
            if line and len(line) + 1 + len(word) > room:
                self.lines.append(prefix + line)
                line = " " * (lead + 2) + word
            else:
                line = f"{line} {word}" if line.strip() else " " * lead + word
        self.lines.append(prefix + line)

    def section(self, key, indent=0):
        self.lines.append(f"{' ' * indent}{spell(key)}:")

    def add(self, key, value, indent=0):
        shown = f"[{', '.join(map(spell, value))}]" if isinstance(value, list) else spell(value)
        self.lines.append(f"{' ' * indent}{spell(key)}: {shown}")

    def fill_in(self, key, indent=0):
        self.lines.append(f"{' ' * indent}{spell(key)}: {FILL_IN}")
        self.open += 1


def spell(value):
    """Return a value as YAML that Baton reads as this value: text in quotes unless it can only be text."""
    text = str(value)
    if isinstance(value, int) or (PLAIN.fullmatch(text) and not NULL.fullmatch(text) and text != FILL_IN):
        return text
    return f'"{"".join(map(_escape, text))}"'


def _escape(letter):
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def can_be_spelled(text):
    """Whether a name is text: one of a folder may hold bytes that are none, for which YAML has no spelling."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def count(number, noun, nouns=None):
    """Return "1 image", "1,234 images"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
