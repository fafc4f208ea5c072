"""What a table calls an image, and which file that is: as it stands, else by the one rule that finds all of them."""

import re
import unicodedata
from collections import defaultdict
from functools import cache
from itertools import chain, combinations
from posixpath import normpath
from urllib.parse import unquote

from baton.data.images import SUFFIXES

# In what a name may differ from its file's: what is done to both (or, of a table alone, to the name), and how it is said.
RULES = {
    "ending": "without the ending",
    "case": "without regard to capitals",
    "folders": "by the last part of its path",
    "address": "with %20 and the like decoded",
    "number": "without the number that an upload puts before it",
}
UPLOADED = re.compile(r"^(?:[0-9a-f]{6,}|\d+)[-_]+(?=.)", re.IGNORECASE)


def split_ending(path: str) -> tuple[str, str]:
    """Return a path without the ending of an image, and that; an empty one where it has none."""
    ending = next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), "")
    return path[: len(path) - len(ending)], ending


class Names:
    """Finds the files that a table names. by_name: {path: the name to use} of the files, as `name_files` returns it."""

    def __init__(self, by_name: dict[str, str]):
        self.by_name = by_name
        composed = {unicodedata.normalize("NFC", path): file for path, file in by_name.items()}
        self.files = composed | by_name
        self._index = cache(self._index_files)

    def find(self, cell: str) -> str | None:
        """Return the file that a cell names as it stands, None where there is none.

        Only paths that were listed can be found, so no cell leads out of the folder. Letters that can be written in two
        ways (é as one sign or as e and an accent) are found either way, and folders may be parted by backslashes.
        """
        for path in (cell, normpath(cell.replace("\\", "/"))):
            if found := self.files.get(path) or self.files.get(unicodedata.normalize("NFC", path)):
                return found
        return None

    def find_all(self, cells: list[str]) -> tuple[dict[str, str], list[str]]:
        """Return {cell: file} of those that are found, and in which RULES, beyond as they stand, all of them are.

        Where no rule, or several together, finds a file of its own for each cell, there are no rules, and what is
        found is found as it stands.
        """
        exact = {cell: found for cell in cells if (found := self.find(cell)) is not None}
        missing = [cell for cell in cells if cell not in exact]
        if missing:
            for rules in chain.from_iterable(
                combinations(RULES, count) for count in range(1, len(RULES) + 1)
            ):
                near = self.find_near(missing, rules)
                if len(near) == len(missing) == len(set(near.values()) - set(exact.values())):
                    return exact | near, list(rules)
        return exact, []

    def find_near(self, cells: list[str], rules: tuple[str, ...]) -> dict[str, str]:
        """Return {cell: file} of the cells that name exactly one file by these rules; stops at none."""
        found = {}
        for cell in cells:
            path = self._find_by(cell, rules)
            if path is not None:
                found[cell] = path
        return found

    def count_near(self, cells: list[str]) -> dict[str, int]:
        """Return by rule how many of the cells would be found by it alone, for those that find any."""
        counts = {rule: len(self.find_near(cells, (rule,))) for rule in RULES}
        return {rule: count for rule, count in counts.items() if count}

    def knows(self, cell: str) -> bool:
        """Whether a cell names a file, as it stands or nearly."""
        return self.find(cell) is not None or self._find_by(cell, ("ending", "case", "folders")) is not None

    def _find_by(self, cell, rules):
        path = cell.replace("\\", "/")
        if "address" in rules:
            path = unquote(re.split(r"[?#]", path)[0])
        path = _plain(normpath(path), rules)
        if path.startswith("../"):  # it leads out of the folder
            return None
        folder, _, name = path.rpartition("/")
        if "number" in rules:
            name = UPLOADED.sub("", name)
        found = self._index(rules).get(name, ())
        if "folders" in rules:
            parts = f"/{folder}/{name}" if folder else f"/{name}"
            within = [(key, file) for key, file in found if parts.endswith(f"/{key}")]
            longest = max((len(key) for key, _ in within), default=0)
            # Of several files that end the cell's path, the one in the most of its folders; else one that it ends.
            fitting = [(key, file) for key, file in within if len(key) == longest] or [
                (key, file) for key, file in found if f"/{key}".endswith(parts)
            ]
        else:
            wanted = f"{folder}/{name}" if folder else name
            fitting = [(key, file) for key, file in found if key == wanted]
        files = {file for _, file in fitting}
        return files.pop() if len(files) == 1 else None

    def _index_files(self, rules):
        """Return {last part of its path: [(path, file)]} of the files, as the rules have them."""
        index = defaultdict(list)
        for path, file in self.by_name.items():
            path = _plain(path, rules)
            index[path.rpartition("/")[2]].append((path, file))
        return index


def _plain(path, rules):
    path = unicodedata.normalize("NFC", path)
    if "ending" in rules:
        path = split_ending(path)[0]
    return path.casefold() if "case" in rules else path
