"""What follows from the measurements of a plan: how long all takes on this machine, and which number format is faster."""

import heapq
import math
from operator import add, le, sub

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
    there = (memory, cores, gpus)
    waiting = [(seconds, tuple(map(min, asked, there))) for seconds, *asked in jobs]
    free, running, now, most = list(there), [], 0.0, 0
    while waiting or running:
        for job in list(waiting):
            seconds, needed = job
            # Where nothing runs, all is free, whatever rounding made of it.
            if not running or all(map(le, needed, free)):
                waiting.remove(job)
                heapq.heappush(running, (now + seconds, needed))
                free = list(map(sub, free, needed))
        most = max(most, len(running))
        now, done = heapq.heappop(running)
        free = list(map(add, free, done))
    return now, most
