"""Images decoded in several processes: of a small one most of the time is Python's, at which threads take turns."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any

from baton.console import log
from baton.data.images import map_images, map_in_order
from baton.errors import MachineError
from baton.study import memory

CAN_FORK = sys.platform == "linux"  # Windows cannot, and on macOS the system's libraries may not survive it

_function: Callable[[str], Any]  # of a process that decodes


def count_processes(cores: int, mem_mb: int | None) -> int:
    """Return in how many processes to decode: as many as `mem_mb` MB are enough for, None for no limit; says where that is fewer."""
    count = cores if mem_mb is None else memory.decoding_processes(mem_mb, cores)
    if count < cores:
        log.info("decoding on %d of %d cores: there is memory for no more, %d MB", count, cores, mem_mb)
    return count


@contextmanager
def decoders(
    function: Callable[[str], Any], count: int
) -> Iterator[Callable[[Iterable[str], int], Iterator[Any]]]:
    """Give a function that takes paths, and how many a process is handed together, and yields function(path) for each, in order.

    `count` processes do it; handing over takes as long as decoding a small image, and of results only a few lots wait to be
    taken. They are forked on entering, which is to be before TensorFlow is imported: a fork does not have its threads. Where
    nothing is forked, threads do it, one path at a time. Raises MachineError where a process is killed.
    """
    if not CAN_FORK:
        yield lambda paths, at_a_time: map_images(function, paths, count)
        return
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(count, context, initializer=_begin, initargs=(function,)) as pool:
            pool.submit(_call, []).result()
            yield partial(_run, pool, count)
    except BrokenProcessPool:
        raise MachineError(
            "a process that decodes images was killed, as the system does where memory is short: free some, or run with fewer "
            "--cores, and run the same command again"
        ) from None


def _run(pool, count, paths, at_a_time):
    paths = iter(paths)
    lots = iter(lambda: list(islice(paths, at_a_time)), [])
    yield from chain.from_iterable(map_in_order(pool, _call, lots, 2 * count))


# --- In a process that decodes


def _begin(function):
    global _function
    _function = function
    # Ctrl-C is for the process that forked this one, and ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """End this process where the one that forked it is killed: it would wait for paths for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(paths):
    return [_function(path) for path in paths]
