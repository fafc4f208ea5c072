"""Which wheels of the locked packages fit the platforms that docs/running.md names: `make lock` writes tests/wheels.csv with it.

    uv pip compile ... --format pylock.toml | python tests/wheels.py > tests/wheels.csv

The lock has hashes and no file names, so what it can install where is not to be seen in it. test_lock.py compares the two.
"""

import csv
import sys
import tomllib
from itertools import chain
from urllib.parse import unquote

from packaging.tags import compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

PYTHONS = ((3, 11), (3, 12), (3, 13))


def manylinux(machine, least=35):
    """Return the platforms of a Linux with glibc 2.`least`, of this processor."""
    return [f"manylinux_2_{minor}_{machine}" for minor in range(least, 4, -1)] + [
        f"manylinux{name}_{machine}" for name in ("2014", "2010", "1")
    ]


# As docs/running.md names them: the tags of their wheels, and what the lock's markers see there.
PLATFORMS = {
    "Linux": (manylinux("x86_64"), {"sys_platform": "linux", "platform_machine": "x86_64"}),
    "Linux on ARM": (manylinux("aarch64"), {"sys_platform": "linux", "platform_machine": "aarch64"}),
    "macOS 14 on Apple silicon": (
        [*mac_platforms((14, 0), "arm64")],
        {"sys_platform": "darwin", "platform_machine": "arm64"},
    ),
    "Windows": (["win_amd64"], {"sys_platform": "win32", "platform_machine": "AMD64"}),
}


def tags_of(platforms, python):
    """Return the wheel tags that a CPython on these platforms can install, as a set."""
    return set(chain(cpython_tags(python, platforms=platforms), compatible_tags(python, "cp", platforms)))


def main():
    tags = set()
    for platforms, _ in PLATFORMS.values():
        for python in PYTHONS:
            tags |= tags_of(platforms, python)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["file", "sha256"])
    for package in tomllib.load(sys.stdin.buffer)["packages"]:
        for wheel in package.get("wheels", []):
            name = unquote(wheel["url"].rsplit("/", 1)[1])
            if tags & parse_wheel_filename(name)[3]:
                table.writerow([name, wheel["hashes"]["sha256"]])


if __name__ == "__main__":
    main()
