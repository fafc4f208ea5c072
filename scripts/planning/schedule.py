"""What follows from the measurements of a plan: how long all takes on this machine, and which number format is faster."""

import heapq
import math

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

    jobs: (seconds, bytes, threads) each; memory: in bytes; of it and of the cores, one that asks for more gets all; gpus: of
    which each takes one.
    """
    waiting, running, now, most = list(jobs), [], 0.0, 0
    free, idle = memory, cores
    while waiting or running:
        for job in list(waiting):
            seconds, needed, threads = job[0], min(job[1], memory), min(job[2], cores)
            # Where nothing runs, all is free, whatever rounding made of it.
            if not running or (len(running) < gpus and threads <= idle and needed <= free):
                waiting.remove(job)
                heapq.heappush(running, (now + seconds, needed, threads))
                free, idle = free - needed, idle - threads
        most = max(most, len(running))
        now, needed, threads = heapq.heappop(running)
        free, idle = free + needed, idle + threads
    return now, most
