"""docs/benchmarks.md as it is written: a section for each benchmark, and nothing of one that failed."""

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
    return record.PAGE


def write(folder, name, code=0):
    path = folder / name
    path.write_text(SCRIPT.format(code=code))
    return str(path)


def test_each_has_its_section_which_is_written_anew(tmp_path, page):
    for name, words in (("benchmark_b.py", []), ("benchmark_a.py", []), ("benchmark_b.py", ["7"])):
        record.main(write(tmp_path, name), *words)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## benchmark_a.py",
        "## benchmark_b.py",
    ]
    assert text.count("Print two lines.") == 2 and "More of it" not in text
    assert "    first\n    second\n" in text and text.endswith("    first 7\n    second\n")
    assert "`python tests/benchmark_b.py 7`: Commit " in text
    assert "\n\n\n" not in text


def test_a_folder_is_named_without_its_path(tmp_path, page):
    (tmp_path / "photos").mkdir()
    record.main(write(tmp_path, "benchmark_a.py"), str(tmp_path / "photos"))
    assert "`python tests/benchmark_a.py photos`" in page.read_text()


def test_one_that_fails_changes_nothing(tmp_path, page):
    record.main(write(tmp_path, "benchmark_a.py"))
    before = page.read_text()
    with pytest.raises(SystemExit) as error:
        record.main(write(tmp_path, "benchmark_a.py", code=3))
    assert error.value.code == 3 and page.read_text() == before


def test_every_benchmark_is_run_by_make_bench():
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
