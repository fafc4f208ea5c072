"""What the tests see of a page of HTML."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "input", "link", "hr"}  # elements that have no end tag


class Page(HTMLParser):
    """An HTML page: its elements with their attributes, its tables as rows of texts, and its text.

    The text is without style and script, spaces made one. An end tag that does not close what is open is an
    error, as is an element left open.
    """

    def __init__(self, html):
        super().__init__()
        self.elements, self.tables, self.open, self.said, self.scripts = [], [], [], "", []
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = re.sub(r"[ \n]+", " ", self.said)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "script":
            self.scripts.append("")
        elif tag in ("p", "li", "h1", "h2", "h3"):
            self.said += " "

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> where {self.open} is open"
        self.open.pop()

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.said += data
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1] += data.strip()

    def structure(self):
        """Return the elements and the names of their attributes, in order: what no user's text may change."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    def attributes(self, tag, name):
        return [attributes[name] for kind, attributes in self.elements if kind == tag and name in attributes]

    def has_table(self, heading):
        return any(heading in table[0] for table in self.tables)

    def table(self, heading):
        """Return the first table that has a column of this heading: a dictionary a row."""
        table = next(table for table in self.tables if heading in table[0])
        return [dict(zip(table[0], row, strict=True)) for row in table[1:]]

    def confusions(self):
        """Return the confusion matrices: the table as rows of texts."""
        return [table for table in self.tables if table[0][0].startswith("true \\")]
