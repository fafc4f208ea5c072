"""The programs of `make bench` at small sizes: each still fits what it measures, and prints what it promises to."""

import os
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

NUMBER = r"\d+(?:\.\d+)?"
SMALL = """
models: [{name: net, kernels: 2, kernel_size: 3, dense: 4, layers: 2}]
data: {source: demo}
images: {size: 16}
training: {epochs: 3}
"""
# Program, what is called in it, and what of the output has to be there, with # for a number.
CALLS = {
    "benchmark": (
        "packing_memory(20); dry_run(30); input_speed('model_3', 32, 2, 1); precision_speed('model_3', 32, 2, 1)",
        r"packing: 20 photos .* in # s, at most # MB.*dry run: 30 images, 6 models: # s.*"
        r"input: model_3 at 32 px, # images/s.*mixed_bfloat16 is # times",
    ),
    "benchmark_backup": (
        "compare('baton', Path('.'), [0.3])",
        r"baton, 1 kills:\s+0 of # bits differ.*0 of 60 lost, 0 of .*gone on from: 0",
    ),
    "benchmark_comparison": (
        "m.product = lambda *ways: [next(product(*ways))]; clear_winner(); promised_power(); ties()",
        r"1 seeds,  450 images: +# +#\n.*the largest of 4: #; beyond 5 % by three standard deviations: #",
    ),
    "benchmark_copies": (
        "m.MANY = (1000,); main([])",
        r"Among 1,000 unlike images copies are found in # s on 2 threads: 1\.000 of the planted ones",
    ),
    "benchmark_large": ("print(main(120, 3, 4))", r"pack_images( +#){4}.*report, 8 x 9( +#){4}\n\[\]"),
    "benchmark_notebook": (
        "m.SEEDS, folder = (1,), Path('part').resolve(); split(draw_photos(Path('photos'), count=20), folder, 60)\n"
        "for way in WAYS: print(way, time_way(way, 'model_3', 32, 1, folder))",
        r"common .*'accuracy': #, 'epoch': #, 'whole': #.*best .*'whole': #.*baton .*'accuracy': #, 'epoch': #, 'whole': #",
    ),
    "benchmark_plan": (
        "main(Path('.').resolve(), Path('small.yaml').resolve())",
        r"net: # / # = #; # / # = #\ntraining and evaluation in all: # / # = #",
    ),
    "benchmark_saving": (  # in one process, so at a size at which both models train on as many threads
        "largest(64, steps=2, saves=1); real('model_6', 64, seconds=2)",
        r"model_\d at 64 px, .*million parameters.*a save: # s .*: # % of the time.*# s, # steps, # saves of # MB",
    ),
    "benchmark_scale": (
        "packing_speed(32, 32, 16, 8, 1)",
        r"packing images of 32 x 32 at 16 px: # of the speed .* 1 pairs",
    ),
    "benchmark_stages": (
        "run_stages('photos', (64, 48), 16, 5, 5000)",
        r"5,000 photos at 16 px, .*:\nsort_into_classes: # s, # times a tenth's # and # s\nsort_into_classes, making links: # s, .*"
        r"pack_images: # s, .*\npack_images, memory: # MB, a tenth's #\n$",
    ),
    "benchmark_step": (
        "main('model_6')",
        r"model_6 at 150 px, \w+: a step in # ms, # times as fast .*of the matrix peak of # GFLOP/s.*geometric mean: #",
    ),
    "benchmark_threads": ("print(run('model_3', 32, 1, 2) > 1)", "True"),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", CALLS)
def test_each_runs_to_its_end(name, tmp_path):
    call, pattern = CALLS[name]
    code = f"import {name} as m\nfrom pathlib import Path\nfrom {name} import *\n{call}"
    paths = os.pathsep.join(str(REPOSITORY / folder) for folder in ("scripts", "tests"))
    (tmp_path / "small.yaml").write_text(SMALL)
    done = subprocess.run(
        [sys.executable, "-c", code, "2"],  # studies of benchmark_comparison
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(pattern.replace("#", NUMBER), done.stdout, re.DOTALL), done.stdout


def test_all_but_the_demo_are_tried():
    """The demo beside an earlier commit has no small size."""
    programs = {path.stem for path in (REPOSITORY / "tests").glob("benchmark*.py")}
    assert programs - set(CALLS) == {"benchmark_demo"}
