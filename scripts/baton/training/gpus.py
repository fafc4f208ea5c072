"""A GPU for each training run: taken by a lock that all calls of snakemake by one user on this machine share."""

import contextlib
import os
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

from baton.console import log
from baton.study.gpus import VISIBLE, announced, list_gpus

# The same for all calls: a job's folder for temporary files follows from its call.
LOCKS = Path("/tmp" if os.name == "posix" else tempfile.gettempdir())


@contextlib.contextmanager
def take_gpus(count, may_wait, pause=time.sleep):
    """Have TensorFlow see `count` GPUs that no other training run uses, for as long as the `with` lasts.

    Before TensorFlow looks for them. 0 hides all of them. Where the job asks for no number, None, or this call announced no
    GPU, as on a cluster or without one, nothing is done. may_wait: called once a second while other training runs have all of
    them; it raises where this one must not wait.
    """
    gpus = announced()
    if count == 0:
        if list_gpus():
            log.info("this job asks for gpu: 0, and leaves the GPU of this machine alone")
        os.environ[VISIBLE] = ""
    if not gpus or not count:
        yield
        return
    with contextlib.ExitStack() as held:
        for seconds in range(10**9):
            taken: list[str] = []
            for gpu in gpus:
                if len(taken) < count and _take(gpu, held):
                    taken.append(gpu)
            if len(taken) == min(count, len(gpus)):
                break
            held.close()  # or two that want two each would wait for one another
            if seconds == 0:
                log.info("waiting for a GPU: other training runs use all %d", len(gpus))
            may_wait()
            pause(1)
        os.environ[VISIBLE] = ",".join(taken)
        log.info("training on %s", ", ".join(taken))
        yield


def _take(gpu, held):
    """Return whether the lock of a GPU was free, and hold it then."""
    user = os.getuid() if hasattr(os, "getuid") else 0  # filelock takes no lock of another user's
    path = LOCKS / f"baton_{user}_{gpu.replace('/', '_')}.lock"  # older drivers' parts are called MIG-.../1/0
    lock = FileLock(path, fallback_to_soft=False, preserve_lock_file=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as trouble:
        log.warning("%s cannot be locked (%s): another training run may use the same GPU", path, trouble)
    held.callback(lock.release)
    return True
