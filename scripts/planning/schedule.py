"""What follows from the measurements of a plan: how long all takes on this machine, and which number format is faster."""

import heapq
import math

import numpy as np

FASTER = 1.1  # times as fast, from which on another number format is worth a line


def find_faster(formats):
    """Return the precision in which a step is faster than in the one in force, that one, and how many times; None for none.

    formats: of try_out, None where it was not tried.
    """
    if not formats or not formats["seconds"]:
        return None
    seconds, in_force = formats["seconds"], formats["in_force"]
    best = min(seconds, key=seconds.__getitem__)
    times = seconds[in_force] / seconds[best]
    return {"precision": best, "in_force": in_force, "times": times} if times >= FASTER else None


def simulate(jobs, cores, memory, gpus=math.inf):
    """Return the seconds that `jobs` take here, and how many at most run at a time: in their order, each as soon as it fits.

    jobs: (seconds, bytes, threads, GPUs) each; memory: in bytes; one that asks for more of anything than there is gets all.
    """
    there = np.array([memory, cores, gpus])
    free, waiting, running, now, most = there, list(jobs), [], 0.0, 0
    while waiting or running:
        for job in list(waiting):
            needed = np.minimum(job[1:], there)
            # Where nothing runs, all is free, whatever rounding made of it.
            if not running or (needed <= free).all():
                waiting.remove(job)
                heapq.heappush(running, (now + job[0], *needed))
                free = free - needed
        most = max(most, len(running))
        now, *done = heapq.heappop(running)
        free = free + done
    return now, most
