"""Change scripts/ in small ways, one at a time, and see whether a test notices: `make mutants`, or with SAMPLE=60.

Cosmic Ray makes the mutants and tests them, in a copy of the repository in a temporary folder. The draw is seeded,
and a smaller sample is the beginning of a larger one. What was tested is kept beside the copy: a run that was
stopped resumes. Where a file of the repository changed, all begins again.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from random import Random

import psutil
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.testing import run_tests
from cosmic_ray.util import read_python_source
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 1
LOG = "output.txt"
MARK = "BATON_MUTANTS"  # in the environment of all that a test starts

# Left out is what fails wherever it is run (<< for +) and what cannot be distinguished from the original (`is` for ==).
OPERATORS = re.compile(
    "core/(NumberReplacer|AddNot|ZeroIterationForLoop|ExceptionReplacer|Replace(And|Or|True|False|Break|Continue)With.*"
    "|ReplaceUnaryOperator_Delete_.*|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is)"
    "|ReplaceComparisonOperator_(Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_GtE|Gt_LtE)"
    "|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|BitOr_BitAnd|BitAnd_BitOr))"
)
MESSAGES = {"log", "UserError", "SessionEnded"}  # what they are called with is text for people
HARMLESS = {"strict", "parents", "leave", "mininterval", "delay"}  # arguments that change no result

# The tests of the modules that have no test file of their name, or need others besides; the quickest first.
TESTS = {
    "call": "calls.py module.py",
    "collect": "report.py many_models.py --deselect=tests/test_report.py::TestWorkflow",
    "comparison": "comparison.py many_models.py::TestComparison",
    "config": "sweep.py bad_input.py",
    "console": "slurm_plugin.py::TestMistakes bad_input.py",
    "cost": "plan.py profiles.py",
    "draw": "report.py --deselect=tests/test_report.py::TestWorkflow",
    "errors": "slurm_plugin.py::TestMistakes bad_input.py",
    "evaluate": "report.py workflow.py::TestModels --deselect=tests/test_report.py::TestWorkflow",
    "export": "use_model.py::TestExport use_model.py::TestFailing",
    "files": "state.py keeper.py",
    "finished": "finished.py::TestPlaces finished.py::TestEarlierVersions finished.py::TestHowFar",
    "formatting": "large_studies.py::TestNumbers plan.py report.py",
    "groups": "comparison.py many_models.py::TestComparison",
    "guessing": "metrics.py comparison.py",
    "identity": "keeper.py finished.py::TestPlaces finished.py::TestHowFar report.py::TestOtherStudies",
    "labels": "sort_into_classes.py weigh_classes.py",
    "links": "sort_into_classes.py filter_corrupt.py",
    "lock": "calls.py",
    "manifests": "split_holdout.py filter_corrupt.py weigh_classes.py",
    "memory": "profiles.py large_studies.py slurm_plugin.py",
    "models": "sweep.py bad_input.py",
    "networks": "training.py several_devices.py use_model.py::TestPredict",
    "pooled": "comparison.py",
    "predict": "use_model.py::TestPredict use_model.py::TestRefusals",
    "progress": "finished.py::TestHowFar report.py::TestUnhappy plan.py",
    "runs": "sweep.py profiles.py bad_input.py",
    "scale": "metrics.py",
    "show": "report.py many_models.py --deselect=tests/test_report.py::TestWorkflow",
    "slurm": "slurm_plugin.py",
    "status": "finished.py::TestHowFar plan.py",
    "study": "sweep.py profiles.py bad_input.py",
    "train": "training.py several_devices.py resume.py",
    "training": "training.py several_devices.py workflow.py::TestModels",
    "try_model": "plan.py",
    "write_report": "report.py many_models.py --deselect=tests/test_report.py::TestWorkflow",
}
UNTESTED = {
    "__init__",
    "batches",
    "verify_resume",
}  # verify_resume is run by the interruptions, minutes for each mutant


def copy_repository():
    """Copy what Git knows or would know to a temporary folder named after its content, and return that folder."""
    listed = ["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [REPOSITORY / name for name in sorted(set(names)) if (REPOSITORY / name).is_file()]
    digest = hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"baton-mutants-{digest[:12]}"
    shutil.rmtree(folder / "copy", ignore_errors=True)
    for path in files:
        target = folder / "copy" / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return folder


def find_exempt(path):
    """Return where in a module there is nothing to mutate, as pairs of (line, column): messages, the snakemake part."""
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in MESSAGES)
        or (isinstance(node, ast.keyword) and node.arg in HARMLESS)
        or (isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__"))
    ]


def place_of(item):
    (mutant,) = item.mutations
    return mutant.module_path, mutant.start_pos, mutant.end_pos, mutant.operator_name, mutant.occurrence


def draw(items):
    """Return the mutants in the order in which they are tested: one a place, of n places a share like sqrt(n)."""
    modules, drawn = defaultdict(lambda: defaultdict(list)), []
    for item in items:
        (mutant,) = item.mutations
        if OPERATORS.fullmatch(mutant.operator_name):
            modules[mutant.module_path][mutant.start_pos, mutant.end_pos].append(item)
    for path, places in modules.items():
        random, exempt = Random(f"{SEED} {path}"), find_exempt(path)
        chosen = [
            random.choice(sorted(found, key=place_of))
            for (begin, end), found in sorted(places.items())
            if not any(first <= begin and end <= last for first, last in exempt)
        ]
        random.shuffle(chosen)
        drawn += [((rank + random.random()) / len(chosen) ** 0.5, item) for rank, item in enumerate(chosen)]
    return [item for _, item in sorted(drawn, key=lambda pair: pair[0])]


def is_sound(item):
    """Whether a mutant is Python, and another program than the original."""
    (mutant,) = item.mutations
    source = read_python_source(mutant.module_path)
    with contextlib.suppress(SyntaxError, AttributeError):  # Cosmic Ray fails at `except module.Error`
        code = mutate_code(source, get_operator(mutant.operator_name)(), mutant.occurrence)
        return ast.dump(ast.parse(code)) != ast.dump(ast.parse(source))
    return False


def test_command(path, folder):
    """Return the command that tests a module (scripts/...)."""
    words = TESTS.get(path.stem, f"{path.stem}.py").split()
    tests = [word if word.startswith("-") else f"tests/test_{word}" for word in words]
    options = ["-x", "-q", "-p", "no:cacheprovider", "--basetemp", folder / "tests"]
    command = ["nice", "-n", "10", REPOSITORY / ".venv/bin/python", "-m", "pytest", *options, *tests]
    # To a file: what a test left running would keep a pipe open, and Cosmic Ray would wait for its end.
    return shlex.join(
        ["sh", "-c", f"{shlex.join(map(str, command))} > {shlex.quote(str(folder / LOG))} 2>&1"]
    )


def time_tests(command, kept):
    """Return the seconds that tests take without a mutant, measured once (`kept`); they must pass."""
    seconds = json.loads(kept.read_text()) if kept.exists() else {}
    if command not in seconds:
        start = time.monotonic()
        if run_tests(command, 1800)[0] != TestOutcome.SURVIVED:
            sys.exit(f"without any mutant, this fails: {command}\n{(kept.parent / LOG).read_text()}")
        seconds[command] = time.monotonic() - start
        kept.write_text(json.dumps(seconds, indent=2))
    return seconds[command]


def test(item, folder):
    """Test a mutant, with a limit of time, and return Cosmic Ray's result; what the tests left running is killed."""
    command = test_command(item.mutations[0].module_path, folder)
    try:
        limit = 20 + 3 * time_tests(command, folder / "seconds.json")
        result = mutate_and_test(item.mutations, command, limit)
    finally:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(folder):
                    process.kill()
    if result.worker_outcome != WorkerOutcome.NORMAL:
        sys.exit(result.output)
    return result


def outcome_of(result):
    if result.test_outcome == TestOutcome.SURVIVED:
        return "survived"
    return "timed out" if result.output == "timeout" else "caught"


def report(tested):
    """Print the survivors, then how many of each module's mutants were caught."""
    counts = defaultdict(Counter)
    for item, result in sorted(tested, key=lambda pair: place_of(pair[0])):
        (mutant,) = item.mutations
        for name in (mutant.module_path.as_posix(), "~all"):
            counts[name][outcome_of(result)] += 1
        if outcome_of(result) == "survived":
            changed = [line for line in result.diff.splitlines() if re.match(r"[-+](?!--|\+\+)", line)]
            print(f"\n{mutant.module_path}:{mutant.start_pos[0]}", *changed, sep="\n")
    outcomes = ("caught", "survived", "timed out")
    print(f"\n{'module':32}", *(f"{outcome:>10}" for outcome in outcomes))
    for name, row in sorted(counts.items()):
        print(f"{name.strip('~'):32}", *(f"{row[outcome]:10}" for outcome in outcomes))


def main(sample, only):
    """Test `sample` mutants and report; only: those of modules whose path this pattern is found in."""
    folder = copy_repository()
    print(f"in {folder}", flush=True)
    os.chdir(folder / "copy")
    os.environ[MARK] = str(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with use_db(folder / "session.sqlite") as session:
        if not session.num_work_items:
            modules = sorted(path for path in Path("scripts").rglob("*.py") if path.stem not in UNTESTED)
            init(modules, session, {})
        drawn = [
            item for item in draw(session.work_items) if re.search(only, str(item.mutations[0].module_path))
        ]
        sampled, results = list(islice(filter(is_sound, drawn), sample)), dict(session.results)
        for number, item in enumerate(sampled, 1):
            (mutant,) = item.mutations
            if item.job_id not in results:
                results[item.job_id] = test(item, folder)
                session.set_result(item.job_id, results[item.job_id])
            outcome = outcome_of(results[item.job_id])
            print(f"{number}/{len(sampled)} {mutant.module_path}:{mutant.start_pos[0]} {outcome}", flush=True)
    report([(item, results[item.job_id]) for item in sampled])


if __name__ == "__main__":
    main(int(os.environ.get("SAMPLE") or 300), os.environ.get("ONLY", ""))
