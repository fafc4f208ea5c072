"""What can go wrong: the errors, and the marks that keep a job with a user's mistake from being submitted again.

Standard library only: the Snakefile imports this.
"""

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress

MISTAKES = ".snakemake/baton/mistakes"

# What a user can correct, so that a sentence helps and a traceback does not.
MENDABLE = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: run in a folder that can be written to",
    errno.EACCES: "permission denied: give this user access to it",
    errno.ENOTCONN: "the drive is not connected: mount it again and run the same command again",
    errno.EPERM: "not permitted: give this user access to it",
}


class UserError(Exception):
    """Something the user can correct; the message says what is wrong, where, and what to do."""


class ConfigError(UserError):
    """Something in the config, or in what the command line adds to it; the message starts with the key."""


class MachineError(UserError):
    """What the machine lacks at the moment; another one, or this one later, may have it. Trying again may help."""


class SessionEnded(Exception):
    """The session is over before the training run is; the message says where it stopped."""


def some(items: Iterable, most: int = 5) -> str:
    """Return a few of `items` as text, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


# --- Mistakes of the user: a cluster would try the same job again and meet them again


def _mark(log: str) -> str:
    """Return the path at which the mistake of the rule with this log file is noted; relative to the study's folder."""
    return f"{MISTAKES}/{hashlib.sha256(os.path.abspath(log).encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def note_mistake(log: str) -> None:
    """Note that the script with this log file ended with a mistake of the user's."""
    with suppress(OSError):
        if os.path.isdir(".snakemake"):
            os.makedirs(MISTAKES, exist_ok=True)
            open(_mark(log), "w").close()


def forget_mistakes() -> None:
    """Take back all that were noted: those of an earlier call say nothing of this one's jobs."""
    with suppress(OSError):
        for entry in os.scandir(MISTAKES):
            os.remove(entry.path)


def forget_mistake(log: str) -> bool:
    """Take back what note_mistake noted; return whether there was anything."""
    try:
        os.remove(_mark(log))
    except OSError:
        return False
    return True
