"""Log records, errors and progress, sent to a rule's log file and to the terminal."""

import contextlib
import gc
import logging
import sys
from pathlib import Path

from tqdm import tqdm

from baton.errors import MENDABLE, MachineError, SessionEnded, UserError, forget_mistake, note_mistake

log = logging.getLogger("baton")


class Lenient:
    """The terminal, or what stands for it. Where it was closed or its disk is full, what is written is lost.

    A training run must not end because nobody can read of it.
    """

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        with contextlib.suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self):
        with contextlib.suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name):
        return getattr(self.stream, name)


class Terminal(logging.Handler):
    """Writes records to the terminal, above a progress bar if there is one."""

    def emit(self, record):
        tqdm.write(self.format(record), file=sys.stderr)


def warn_of_other_training(changes):
    """Say that a model is used which was trained otherwise than the config says now; changes: sentences, if any."""
    if changes:
        log.warning(
            "the existing model was trained with other settings than the config's: %s. It is used as it is.",
            "; ".join(changes),
        )


def show_progress(items, title, total, unit, initial=0):
    """Iterate over `items` with a progress bar; where no terminal shows it, with a line now and then."""
    wait = 0 if sys.stderr.isatty() else 30  # seconds
    return tqdm(
        items, title, total, leave=False, initial=initial, unit=unit, mininterval=max(wait, 0.5), delay=wait
    )


def start(path):
    """Send log records to the file `path` (logs/RULE/...) and to the terminal, errors included."""
    forget_mistake(path)
    path = Path(path)
    name = path.with_suffix("").as_posix().removeprefix("logs/")
    to_file, to_terminal = logging.FileHandler(path, encoding="utf-8"), Terminal()
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    escape_names(sys.stderr)
    sys.stderr = Lenient(sys.stderr)
    logging.raiseExceptions = False  # a log file that cannot be written is no reason to fill the terminal
    escape_names(to_file.stream)
    log.setLevel(logging.INFO)
    log.propagate = False  # libraries set up the root logger as they like
    log.handlers = [to_file, to_terminal]
    sys.excepthook = log_error
    # Modules are no garbage: to look through TensorFlow's when the process ends would take a second.
    gc.freeze()


def escape_names(stream):
    """Have a stream escape file names that are not UTF-8: to Python they are lone surrogates, which nothing can print."""
    stream.reconfigure(errors="backslashreplace")


def log_file() -> str:
    """Return the path of the log file that records are sent to."""
    return next(handler.baseFilename for handler in log.handlers if isinstance(handler, logging.FileHandler))


def log_error(kind, error, traceback):
    """Log an uncaught exception: one sentence where the user can mend it, else its traceback."""
    if isinstance(error, UserError):
        log.error("error: %s", error)
        if not isinstance(error, MachineError):
            note_mistake(log_file())
    elif isinstance(error, SessionEnded):
        log.warning("%s", error)
    elif isinstance(error, KeyboardInterrupt):
        log.error("interrupted from the keyboard")
    elif isinstance(error, OSError) and error.errno in MENDABLE:
        where = f"{error.filename}: " if error.filename else ""
        log.error("error: %s%s", where, MENDABLE[error.errno])
    else:
        log.critical(
            "this is a bug in Baton; please report it, with %s", log_file(), exc_info=(kind, error, traceback)
        )
