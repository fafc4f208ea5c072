"""Run a benchmark and write what it prints into docs/benchmarks.md, with the commit, the processor and the day.

    python tests/record.py tests/benchmark_step.py [ARGUMENT ...]

Each command has a section there for each kind of machine, which is written anew; the others stay as they are.
"""

import ast
import datetime
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # for sums of products, the best first
PAGE = ROOT / "docs/benchmarks.md"
WIDTH = 125  # of a line on it
HEAD = """# Benchmarks

Written by `make bench` (`tests/record.py`), a section for each of its commands and each kind of machine; the medians of pairs,
where nothing else is said. Timings differ from machine to machine and from run to run: the ratios are what to look at.
"""


def processor():
    """Return the processor's name, as Linux has it, and the best of INSTRUCTIONS that it has: names hide that."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = found[1] if found else "unknown processor"
    best = next((f" with {flag}" for flag in INSTRUCTIONS if re.search(rf"\b{flag}\b", text)), "")
    return f"{name}{best}, {os.cpu_count()} cores"


def commit():
    """Return the commit that is checked out, and whether files other than PAGE differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True)
    changes = [*git, "diff", "--quiet", "HEAD", "--", ".", ":(exclude)docs/benchmarks.md"]
    if head.returncode:
        return "unknown"
    return head.stdout.strip() + ("-dirty" if subprocess.run(changes).returncode else "")


def section_of(script, words, lines, version):
    """Return the section of a benchmark: how and where it was run, its docstring's first line, and what it printed.

    version: the commit from which it began.
    """
    docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    what = docstring.splitlines()[0].removeprefix("Print ")
    heading = f"{' '.join([script.name, *words])}: {processor()}"
    when = f"Commit {version}, {datetime.date.today().isoformat()}."
    printed = "\n".join(map(indent, lines))
    return f"## {heading}\n\n{what[0].upper()}{what[1:]} {when}\n\n{printed}\n"


def indent(line):
    """Return a printed line as code on the page; what is too long for a line of it goes on further in."""
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent=" " * 4,
        subsequent_indent=" " * 8,
        break_long_words=False,
        break_on_hyphens=False,
    )


def replace_section(page, section):
    """Return the page with the section of this heading written anew; sections are in the order of their headings."""
    head, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    by_heading = {part.splitlines()[0]: part.rstrip("\n") + "\n" for part in [*sections, section]}
    return "\n".join([head.rstrip("\n") + "\n", *(by_heading[heading] for heading in sorted(by_heading))])


def main(script, *words):
    script, lines, version = Path(script), [], commit()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(ROOT / "tests")])}
    command = [sys.executable, str(script), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    if process.returncode:
        sys.exit(process.returncode)  # its numbers are not whole
    if (now := commit()) != version:
        version += f", at its end {now}"
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else HEAD
    PAGE.parent.mkdir(exist_ok=True)
    names = [Path(word).name if os.path.isdir(word) else word for word in words]  # no path of this machine
    PAGE.write_text(replace_section(page, section_of(script, names, lines, version)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
