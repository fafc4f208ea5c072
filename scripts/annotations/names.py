"""What a table calls an image, and which file that is: as it stands, else by the one rule that finds all of them."""

import re
import unicodedata
from collections import defaultdict
from functools import lru_cache
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


def without_ending(path: str) -> str:
    """Return a path without the ending of an image, where it has one."""
    ending = next((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), "")
    return path[: len(path) - len(ending)]


class Names:
    """Finds the files that a table names. by_name: {path: the name to use} of the files, as `name_files` returns it."""

    def __init__(self, by_name: dict[str, str]):
        self.by_name = by_name
        composed = {unicodedata.normalize("NFC", path): file for path, file in by_name.items()}
        self.files = composed | by_name
        self._index = lru_cache(4)(self._index_files)  # a rule at a time

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
        taken = set(exact.values())
        for rules in chain.from_iterable(combinations(RULES, count) for count in range(1, len(RULES) + 1)):
            near: dict[str, str] = {}
            for cell in missing:
                file = self._find_by(cell, rules)
                if file is None or file in taken:
                    break
                near[cell] = file
            if missing and len(near) == len(missing) == len(set(near.values())):
                return exact | near, list(rules)
        return exact, []

    def count_near(self, cells: list[str]) -> dict[str, int]:
        """Return by rule how many of the cells would be found by it alone, for those that find any."""
        counts = {rule: sum(self._find_by(cell, (rule,)) is not None for cell in cells) for rule in RULES}
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
        path = f"{folder}/{name}" if folder else name
        whole, ends = self._index(rules)
        files = whole.get(path, ())
        if "folders" in rules and not files:
            # The file that ends the cell's path with the most of its folders, else the one whose path the cell ends.
            parts = path.split("/")
            tails = ("/".join(parts[start:]) for start in range(1, len(parts)))
            files = next((found for tail in tails if (found := whole.get(tail))), None) or ends.get(path, ())
        return next(iter(files)) if len(files) == 1 else None

    def _index_files(self, rules):
        """Return {path: files} and, where folders may be left out, {end of a path: files}, as the rules have the files."""
        whole, ends = defaultdict(set), defaultdict(set)
        for path, file in self.by_name.items():
            path = _plain(path, rules)
            whole[path].add(file)
            while "folders" in rules and "/" in path:
                path = path.partition("/")[2]
                ends[path].add(file)
        return whole, ends


def _plain(path, rules):
    path = unicodedata.normalize("NFC", path)
    if "ending" in rules:
        path = without_ending(path)
    return path.casefold() if "case" in rules else path
