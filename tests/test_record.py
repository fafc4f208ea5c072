"""docs/benchmarks.md as it is written: a section for each benchmark, and nothing of one that failed."""

import re
import subprocess
import sys

import pytest
import record

SCRIPT = '''"""Print two lines.

More of it.
"""
import sys
print("first", *sys.argv[1:])
print("second")
sys.exit({code})
'''


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "PAGE", tmp_path / "docs/benchmarks.md")
    monkeypatch.setattr(record, "processor", lambda: "Fast, 2 cores")
    return record.PAGE


def write(folder, name, code=0):
    path = folder / name
    path.write_text(SCRIPT.format(code=code))
    return str(path)


def test_each_has_its_section_which_is_written_anew(tmp_path, page):
    for name, words in (("benchmark_b.py", ["7"]), ("benchmark_a.py", []), ("benchmark_b.py", ["7"])):
        record.main(write(tmp_path, name), *words)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## benchmark_a.py: Fast, 2 cores",
        "## benchmark_b.py 7: Fast, 2 cores",
    ]
    assert text.count("Two lines.") == 2 and "More of it" not in text
    assert "    first\n    second\n" in text and text.endswith("    first 7\n    second\n")
    assert text.count("\n\nTwo lines. Commit ") == 2
    assert "\n\n\n" not in text


def test_the_commit_is_that_from_which_it_began(tmp_path, page, monkeypatch):
    commits = iter(["abc1234", "abc1234", "abc1234", "def5678"])
    monkeypatch.setattr(record, "commit", lambda: next(commits))
    for expected in ("Commit abc1234, 2", "Commit abc1234, at its end def5678, 2"):
        record.main(write(tmp_path, "benchmark_a.py"))
        assert f"Two lines. {expected}" in page.read_text()


def test_long_lines_go_on_in_the_next(tmp_path, page):
    script = tmp_path / "benchmark_a.py"
    script.write_text('"""Print words."""\nprint("  two   spaces")\nprint("some-word " * 30)\n')
    record.main(str(script))
    *_, short, long, rest, last = page.read_text().splitlines()
    assert short == "      two   spaces"
    assert [len(line) for line in (long, rest, last)] == [123, 117, 77]
    assert (long.split() + rest.split() + last.split()) == ["some-word"] * 30 and rest[:9] == " " * 8 + "s"


def test_what_another_machine_took_stays(tmp_path, page, monkeypatch):
    script = tmp_path / "benchmark_a.py"
    for machine, number in (("Fast", 1), ("Slow", 2), ("Slow", 3)):
        monkeypatch.setattr(record, "processor", lambda name=machine: name)
        script.write_text(f'"""Print a number."""\nprint("number", {number})\n')
        record.main(str(script))
    text = page.read_text()
    assert [text.count(f"    number {number}\n") for number in (1, 2, 3)] == [1, 0, 1]
    assert (
        text.index(": Fast\n") < text.index("number 1\n") < text.index(": Slow\n") < text.index("number 3\n")
    )


def test_the_processor_is_named_with_its_best_instructions(monkeypatch):
    text = "model name\t: Make 9\nflags\t: fpu avx2 avx512f avx512_bf16_more\nmodel name\t: Make 9\n"
    monkeypatch.setattr(record.Path, "read_text", lambda path: text)
    monkeypatch.setattr(record.os, "cpu_count", lambda: 4)
    assert record.processor() == "Make 9 with avx512f, 4 cores"


def test_a_commit_is_dirty_by_other_files_than_the_page(tmp_path, monkeypatch):
    def git(*words):
        name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", *name, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(record, "ROOT", tmp_path)
    git("init", "--quiet")
    assert record.commit() == "unknown"
    (tmp_path / "docs").mkdir()
    for name in ("docs/benchmarks.md", "code.py"):
        (tmp_path / name).write_text("one")
    git("add", ".")
    git("commit", "--quiet", "-m", "Begin")
    (tmp_path / "docs/benchmarks.md").write_text("two")  # by the benchmark before
    assert record.commit() == git("rev-parse", "HEAD")[:7]
    (tmp_path / "code.py").write_text("two")
    assert record.commit() == git("rev-parse", "HEAD")[:7] + "-dirty"


def test_a_folder_is_named_without_its_path(tmp_path, page):
    (tmp_path / "photos").mkdir()
    record.main(write(tmp_path, "benchmark_a.py"), str(tmp_path / "photos"))
    assert "## benchmark_a.py photos: Fast, 2 cores\n" in page.read_text()


def test_one_that_fails_changes_nothing(tmp_path, page):
    record.main(write(tmp_path, "benchmark_a.py"))
    before = page.read_text()
    with pytest.raises(SystemExit) as error:
        record.main(write(tmp_path, "benchmark_a.py", code=3))
    assert error.value.code == 3 and page.read_text() == before


def test_every_benchmark_is_run_by_make_bench_and_told_of():
    names = {path.name for path in (record.ROOT / "tests").glob("benchmark*.py")}
    makefile = record.ROOT / "Makefile"
    done = subprocess.run(
        ["make", "--dry-run", "--file", makefile, "bench", f"PYTHON={sys.executable}"],
        capture_output=True,
        text=True,
        cwd=record.ROOT,
    )
    assert done.returncode == 0, done.stderr
    named = {f"{word}.py" for word in done.stdout.split("for name in ")[1].split(";")[0].split()}
    assert named | {"benchmark_notebook.py"} == names
    page = (record.ROOT / "docs/speed.md").read_text(encoding="utf-8")
    assert names == set(re.findall(r"^\|.* `(benchmark\w*\.py)` \|$", page, re.MULTILINE))
