"""Print what two training runs of one thread each do against one of two threads, for each model and size.

    PYTHONPATH=scripts:tests python tests/benchmark_threads.py

Steps per second in processes of their own, which begin at the same moment; medians of three turns. What
`cost.threads_of_training` follows. Twenty-five minutes.
"""

import statistics
import subprocess
import sys
import time

import numpy as np
from benchmark import CONFIG, settings_of

from baton.study.cost import measure

SECONDS, TURNS = 5, 3


def count_steps(name, size, threads):
    """Say "ready", wait for a line, and print how many steps per second a model makes from then on."""
    import benchmark

    from baton.training import networks

    set_up = networks.set_up
    networks.set_up = lambda _, *rest, **named: set_up(threads, *rest, **named)
    batch = (
        np.random.default_rng(1).integers(0, 256, (32, size, size, 3), np.uint8),
        np.arange(32, dtype=np.int32) % 9,
        np.ones(32, np.float32),
    )
    trainer = benchmark.make_trainer(name, size, "auto")
    benchmark.seconds_for(trainer, [batch] * 3)
    print("ready", flush=True)
    sys.stdin.readline()
    steps, began = 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        benchmark.seconds_for(trainer, [batch])
        steps += 1
    print(steps / (time.perf_counter() - began))


def run(name, size, threads, processes):
    """Return the steps per second of some processes together."""
    command, pipe = [sys.executable, __file__, name, str(size), str(threads)], subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        for _ in range(processes)
    ]
    for child in children:
        child.stdout.readline()
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    return sum(float(child.communicate()[0]) for child in children)


def main():
    if len(sys.argv) > 1:
        name, size, threads = sys.argv[1:]
        count_steps(name, int(size), int(threads))
        return
    for size in (32, 96):
        for name in (model["name"] for model in CONFIG["models"]):
            turns = [
                (run(name, size, 2, 1), run(name, size, 1, 2), run(name, size, 1, 1)) for _ in range(TURNS)
            ]
            each, alone = (statistics.median(turn[place] / turn[0] for turn in turns) for place in (1, 2))
            step = 32 * measure({**settings_of(name), "size": size}, 9).multiplications
            print(
                f"threads: {name} at {size} px, {step / 1e9:.1f} x 10^9 multiplications a step: two of one thread each make "
                f"{each:.2f} times the steps of one with two; alone, one of them {alone:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
