"""The layout of the code: which room imports which, what a dry run loads, how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"
ROOMS = ("study", "data", "training", "results")
# Whom all may import.
SHARED = {"baton.errors", "baton.files", "baton.formatting", "baton.console", "baton.manifests"}
# Beyond their own room and the shared modules. How many processes decode follows from what each takes. A training run's state
# is in a folder named after its identity.
ALLOWED = {
    "data": {"baton.study.memory"},
    "training": {"baton.study.progress", "baton.study.identity", "baton.study.gpus"},
}
MODULES = sorted((SCRIPTS / "baton").rglob("*.py"))
STUDY = sorted(path.stem for path in (SCRIPTS / "baton/study").glob("*.py") if path.stem != "__init__")
HEAVY = ("tensorflow", "keras", "numpy", "pandas", "tqdm", "snakemake", "safetensors", "filelock", "networkx")
LONGEST = 300  # lines of a module, unless its docstring says why


def name_of(path):
    return ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    """Return the modules that a file imports, wherever in it: of `from a import b` a.b where that is a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                whole = SCRIPTS / Path(*node.module.split("."), alias.name)
                is_module = whole.with_suffix(".py").exists() or whole.is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_itself_and_what_all_share(path):
    room = path.parent.name if path.parent.name in ROOMS else None
    wanted = {
        name
        for name in imports(path)
        if name.split(".")[0] in ("baton", "report", "annotations", "planning") or is_script(name)
    }
    allowed = {"baton.errors", "baton.files"} if room == "study" else SHARED
    allowed = allowed | ALLOWED.get(room, set())
    assert {name for name in wanted - allowed if not name.startswith(f"baton.{room}.")} == set()


def is_script(name):
    return (SCRIPTS / f"{name}.py").exists()


def test_no_circle():
    arrows = {name_of(path): {n for n in imports(path) if n.startswith("baton")} for path in MODULES}
    done = set()
    while len(done) < len(arrows):
        free = {name for name, needed in arrows.items() if name not in done and needed <= done | {name}}
        assert free, f"a circle among {set(arrows) - done}"
        done |= free


@pytest.mark.parametrize("name", STUDY)
def test_a_dry_run_loads_only_the_standard_library_yaml_jsonschema_and_psutil(name):
    """What anything else would load fails: it is blocked."""
    code = (
        "import sys\n"
        f"for name in {HEAVY}: sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(SCRIPTS)!r})\n"
        f"import baton.study.{name}\n"
        "known = {*sys.stdlib_module_names, 'baton', 'yaml', '_yaml', 'jsonschema', 'psutil'}\n"
        # What jsonschema itself needs.
        "known |= {'attr', 'attrs', 'referencing', 'rpds', 'jsonschema_specifications', 'typing_extensions', 'idna'}\n"
        "loaded = {name.split('.')[0] for name, module in sys.modules.items() if module}\n"
        "print(sorted(name for name in loaded - known if not name.startswith(('_', 'cython'))))\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", with_packages(code)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def with_packages(code):
    """Return code that finds the packages of this Python, without what they load at its start (-S)."""
    return f"import sys\nsys.path[:0] = {[path for path in sys.path if 'site-packages' in path]!r}\n{code}"


@pytest.mark.parametrize("path", [*MODULES, *sorted(SCRIPTS.glob("*.py"))], ids=name_of)
def test_a_long_module_says_why(path):
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "no docstring"
    if len(text.splitlines()) > LONGEST:
        assert "One file, since" in docstring


def test_rules_hold_rules():
    files = sorted((REPOSITORY / "rules").glob("*.smk"))
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) < 800
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "\ndef " not in text and "\nclass " not in text, path
        docstring = ast.get_docstring(ast.parse(text.split('"""\n', 1)[0] + '"""\n'))
        assert "\nNeeds\n" in docstring and "\nMakes\n" in docstring, path


def test_no_test_runs_a_rule_file_as_python():
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        if path.name != Path(__file__).name:
            text = path.read_text(encoding="utf-8")
            assert not ("exec(" in text and ".smk" in text), path
