"""The lock: what it asks for can be installed on every platform that docs/running.md names. Resolved here, installed nowhere."""

import csv
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.tags import mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version
from wheels import PLATFORMS, PYTHONS, tags_of

SOURCE = {"connection-pool"}  # plain Python that is published without a wheel: pip makes one anywhere
LOCK = "".join(
    (REPOSITORY / name).read_text(encoding="utf-8") for name in ("requirements.lock", "export.lock")
)


def locked():
    """Return each requirement of the lock, with the hashes of its files."""
    for line in re.sub(r"\\\n\s*", " ", LOCK).splitlines():
        if "==" in line:
            requirement, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
            yield Requirement(requirement), set(hashes)


def wheels():
    """Return the wheels in wheels.csv by name and version, as (tags, hash)."""
    found = {}
    with open(Path(__file__).with_name("wheels.csv"), encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, version, _, tags = parse_wheel_filename(row["file"])
            found.setdefault((name, version), []).append((tags, row["sha256"]))
    return found


def missing(platforms, markers, python):
    """Return what the lock asks for on a platform and has no wheel for."""
    tags, there, lacking = tags_of(platforms, python), wheels(), []
    environment = markers | {
        "python_version": ".".join(map(str, python)),
        "python_full_version": f"{python[0]}.{python[1]}.1",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "nt" if markers["sys_platform"] == "win32" else "posix",
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[
            markers["sys_platform"]
        ],
    }
    for requirement, hashes in locked():
        if requirement.name in SOURCE or (
            requirement.marker and not requirement.marker.evaluate(environment)
        ):
            continue
        (pin,) = requirement.specifier
        files = there.get((canonicalize_name(requirement.name), Version(pin.version)), [])
        if not hashes & {digest for kinds, digest in files if kinds & tags}:
            lacking.append(requirement.name)
    return lacking


def pins(name):
    """Return the version of each package in a lock."""
    return dict(
        re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE)
    )


def test_cuda_is_that_of_the_same_tensorflow():
    plain, gpu = pins("requirements.lock"), pins("requirements.gpu.lock")
    assert {
        name: version for name, version in gpu.items() if not name.startswith("nvidia-")
    }.items() <= plain.items()
    assert {"nvidia-cudnn-cu12", "nvidia-cublas-cu12"} <= gpu.keys() - plain.keys()
    text = (REPOSITORY / "requirements.gpu.lock").read_text(encoding="utf-8")
    assert text.count("==") == len(gpu) and len(re.findall(r"==\S+[^\n]* \\\n +--hash=sha256:", text)) == len(
        gpu
    )


@pytest.mark.parametrize("python", PYTHONS, ids=lambda python: ".".join(map(str, python)))
@pytest.mark.parametrize("name", PLATFORMS)
def test_every_package_has_a_wheel(name, python):
    assert missing(*PLATFORMS[name], python) == []


@pytest.mark.parametrize(
    ("platforms", "machine"),
    [([*mac_platforms((14, 0), "x86_64")], "x86_64"), ([*mac_platforms((13, 0), "arm64")], "arm64")],
    ids=["Intel", "macOS 13"],
)
def test_older_macs_cannot_have_it_as_readme_says(platforms, machine):
    markers = {"sys_platform": "darwin", "platform_machine": machine}
    assert {"tensorflow", "onnxruntime"} & set(missing(platforms, markers, (3, 12)))
    assert "macOS 14 or later on Apple silicon" in (REPOSITORY / "docs/running.md").read_text(
        encoding="utf-8"
    )
