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

from baton.data.images import map_images, map_in_order
from baton.errors import MachineError

CAN_FORK = sys.platform == "linux"  # Windows cannot, and on macOS the system's libraries may not survive it

_function: Callable[[str], Any]  # of a process that decodes


@contextmanager
def decoders(
    function: Callable[[str], Any], count: int, at_a_time: int
) -> Iterator[Callable[[Iterable[str]], Iterator[Any]]]:
    """Give a function that yields function(path) for each of some paths, in order, from `count` processes.

    at_a_time: the paths that a process is handed together; handing over takes as long as decoding a small image. Of results
    only a few such lots wait to be taken. The processes are forked on entering, which is to be before TensorFlow is imported: a
    fork does not have its threads. Where nothing is forked, threads do it. Raises MachineError where a process is killed.
    """
    if not CAN_FORK:
        yield partial(map_images, function, threads=count)
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(count, context, initializer=_begin, initargs=(function,)) as pool:
        pool.submit(_call, []).result()
        yield partial(_run, pool, count, at_a_time)


def _run(pool, count, at_a_time, paths):
    paths = iter(paths)
    lots = iter(lambda: list(islice(paths, at_a_time)), [])
    try:
        yield from chain.from_iterable(map_in_order(pool, _call, lots, 2 * count))
    except BrokenProcessPool:
        raise MachineError(
            "a process that decodes images was killed, as the system does where memory is short: free some, or run with fewer "
            "--cores, and run the same command again"
        ) from None


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
