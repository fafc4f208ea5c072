"""Calls of snakemake that begin with it imported, which takes most of a short one's time.

Each is a process of its own, forked from one that has imported it and done nothing else.
"""

import multiprocessing
import os
import sys

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["snakemake.cli"])


def run_snakemake(arguments, folder, output, environment, timeout):
    """Run snakemake in `folder` with these arguments; what it prints goes to the file `output`. Return its exit code.

    environment: None for this process's. Raises TimeoutError.
    """
    environment = dict(os.environ if environment is None else environment)
    process = CONTEXT.Process(target=_run, args=(arguments, str(folder), str(output), environment))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"snakemake {' '.join(arguments)} took more than {timeout} s")
    return process.exitcode


def _run(arguments, folder, output, environment):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    main()
