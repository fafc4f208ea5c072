"""Set up the virtual environment of `make run` and `make test`: python envs/set_up.py STAMP LOCK ...

STAMP, .venv/installed, is written when all packages of the LOCKs are there. What is missing on this machine is said
before anything is installed. Packages are counted while they come. After a cut the same command starts clean (what was
downloaded is not downloaded again), and of two commands at once the second waits for the first.

Only the standard library, and nothing that Python 3.8 does not know: whichever Python there is has to say what it lacks.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

try:
    import fcntl
except ImportError:  # Windows, where two at once are not kept apart
    fcntl = None

PYTHONS = ((3, 11), (3, 13))  # the first and the last that the locks are for
# GB to fetch, and that they take when unpacked: TensorFlow and all around it; what it needs for GPUs.
TENSORFLOW, CUDA = (1, 3.3), (2.8, 4.4)
PATIENCE = 15  # seconds for a connection
# Says for each line, the marker of a package or nothing, whether it is for this Python and system.
IS_FOR_HERE = """
import sys
from pip._vendor.packaging.markers import Marker
for line in sys.stdin.read().split("\\n"):
    print(not line or Marker(line).evaluate({"extra": ""}))
"""


def refuse(sentence):
    sys.exit(f"Baton cannot be set up: {sentence}")


def check_python():
    """Refuse a Python that the locks are not for, and name one that is there and would do."""
    first, last = PYTHONS
    here = sys.version_info[:2]
    if not first <= here <= last:
        wanted = [f"python{last[0]}.{minor}" for minor in range(last[1], first[1] - 1, -1)]
        found = [name for name in wanted if shutil.which(name)]
        how = (
            f"there is a {found[0]} too: make run PYTHON={found[0]}"
            if found
            else "install one of these, and name it: make run PYTHON=/path/to/python3.12"
        )
        refuse(
            f"this is Python {here[0]}.{here[1]}, and it needs {first[0]}.{first[1]} to {last[0]}.{last[1]}; {how}"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        refuse(
            f"this Python has no venv. On Debian and Ubuntu: apt install python{here[0]}.{here[1]}-venv; "
            "elsewhere install a Python that has it, and name it: make run PYTHON=/path/to/python3.12"
        )


def size_of(folder):
    """Return how many GB the files below a folder take."""
    total = 0
    for path, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(path, name)).st_size for name in names)
    return total / 1e9


def check_disk(environment, needed):
    """Refuse a disk that has less room than the packages will take; needed: GB."""
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(environment))).free / 1e9
    if free < needed:
        refuse(
            f"the packages take {needed:.1f} GB more, and {free:.1f} GB are free where {os.path.abspath(environment)} is"
        )


def check_index(pip, requirements):
    """Refuse where no package can be had: the first of the requirements is fetched, and thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        lock = os.path.join(folder, "first.txt")
        with open(lock, "w") as file:
            file.write(requirements[0])
        command = [
            *pip,
            "download",
            "--no-deps",
            "--require-hashes",
            "--retries",
            "1",  # with none, pip says nothing of the connection
            "--timeout",
            str(PATIENCE),
        ]
        done = subprocess.run(
            [*command, "--dest", folder, "--requirement", lock],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        trouble = [
            line
            for line in lines
            if re.search(r"connection|timed? ?out|resolve|SSL|proxy", line, re.IGNORECASE)
        ]
        said = (trouble or [line for line in lines if "ERROR" in line] or lines or ["nothing"])[-1][:300]
        what = (
            "there is no way to the package index from here"
            if trouble
            else "the package index gives no package"
        )
        refuse(f"{what} (a proxy is set by HTTPS_PROXY, another index by pip config). pip says: {said}")


def read_requirements(python, locks):
    """Return the text of each package in the locks that is for this system, with its hashes; python: of the environment."""
    packages = {}
    for lock in locks:
        with open(lock) as file:
            for text in re.split(r"\n(?=\S)", file.read().strip()):
                if "==" in text:
                    packages.setdefault(text.split("==")[0], text)
    markers = [text.split("\\")[0].partition(";")[2].strip() for text in packages.values()]
    done = subprocess.run(
        [python, "-c", IS_FOR_HERE], input="\n".join(markers), stdout=subprocess.PIPE, text=True, check=True
    )
    return [text for text, here in zip(packages.values(), done.stdout.split()) if here == "True"]  # noqa: B905 Python 3.8


class Progress:
    """Says how many packages have come, of how many: on a terminal in one line, else in a line for every twenty."""

    def __init__(self, total):
        self.total, self.megabytes, self.last = total, 0.0, -1
        self.is_terminal = sys.stdout.isatty()

    def show(self, what, count, now=""):
        text = f"{what} {min(count, self.total)} of {self.total} packages{now}"
        if self.is_terminal:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + text[:width], end="", flush=True)
        elif count // 20 != self.last:
            self.last = count // 20
            print(text, flush=True)

    def end(self):
        self.last = -1
        if self.is_terminal:
            print()


def install(pip, environment, locks, total, anew=False):
    """Install the locks' packages, counted as they are fetched and as they are unpacked; return what pip said, or None.

    anew: also those that seem to be there.
    """
    command = [*pip, "install", "--require-hashes", "--progress-bar", "off", "--timeout", str(PATIENCE)]
    command += ["--force-reinstall"] if anew else []
    command += [word for lock in locks for word in ("--requirement", lock)]
    progress, said, fetched, done = Progress(total), [], 0, threading.Event()
    unpacking = None
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout:
                said.append(line)
                if re.match(r"Collecting |Requirement already satisfied", line):
                    fetched += 1
                    progress.show("fetched", fetched - 1, f"; {progress.megabytes:,.0f} MB so far")
                elif size := re.search(r"Downloading (\S+) .*\(([\d.]+) ([kM])B\)", line):
                    megabytes = float(size[2]) / (1000 if size[3] == "k" else 1)
                    progress.show(
                        "fetched",
                        fetched - 1,
                        f"; {progress.megabytes:,.0f} MB so far, now {size[1]} ({megabytes:,.0f} MB)",
                    )
                    progress.megabytes += megabytes
                elif line.startswith("Installing collected packages"):
                    progress.show("fetched", total, f"; {progress.megabytes:,.0f} MB in all")
                    progress.end()
                    unpacking = threading.Thread(target=watch, args=(environment, progress, done))
                    unpacking.start()
    finally:  # also after Ctrl-C
        done.set()
        if unpacking:
            unpacking.join()
        progress.end()
    return "".join(said[-20:]) if process.returncode else None


def watch(environment, progress, done):
    """Count the packages that are unpacked, of which pip says nothing, until done."""
    while not done.wait(0.5):
        progress.show(
            "unpacked", len(glob.glob(os.path.join(environment, "lib/python*/site-packages/*.dist-info")))
        )


def set_up(stamp, locks):
    """Make the environment that STAMP lies in, or complete it; a STAMP of another name than installed adds to one."""
    environment, cut = os.path.dirname(stamp), f"{stamp}.cut"
    python = os.path.join(environment, "bin", "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    is_whole, was_cut = os.path.basename(stamp) == "installed", os.path.exists(cut)
    fetched, unpacked = TENSORFLOW if is_whole else CUDA
    in_all = unpacked if is_whole else TENSORFLOW[1] + CUDA[1]
    check_disk(environment, max(in_all - size_of(environment), 0))
    if was_cut:
        print(
            "The last set-up was cut. What it unpacked is made anew; what it fetched is not fetched again.",
            flush=True,
        )
    if (is_whole and was_cut) or not is_sound(python):
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    packages = read_requirements(python, locks)
    check_index(pip, packages)
    print(
        f"Setting up {environment}: {len(packages)} packages to be fetched (about {fetched:.0f} GB, unless pip has them already) "
        f"and unpacked (about {unpacked:.0f} GB); one to five minutes.",
        flush=True,
    )
    open(cut, "w").close()
    trouble = install(pip, environment, locks, len(packages), anew=was_cut and not is_whole)
    if trouble:
        sys.exit(
            f"{trouble}\nBaton could not be set up; pip's reason is above. Run the same command again to go on."
        )
    open(stamp, "w").close()
    os.remove(cut)


def is_sound(python):
    """Whether an environment's Python starts, is this one's version and has pip: not so where it was cut in the making."""
    code = "import pip, sys; print(sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return False
    return done.stdout.strip() == str(sys.version_info[:2])


def is_set_up(stamp, locks):
    """Whether another command has done all of this meanwhile; what adds to an environment is done anew after that is."""
    before = [os.path.join(os.path.dirname(stamp), "installed")]
    before = [path for path in before if path != stamp and os.path.exists(path)]
    return os.path.exists(stamp) and all(
        os.path.getmtime(path) <= os.path.getmtime(stamp) for path in [*locks, *before]
    )


def main(stamp, *locks):
    check_python()
    with open(locks[0]) as held:  # a file that is there anyway: it is locked and not written
        if fcntl:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"Another command sets up {os.path.dirname(stamp)}: waiting for it.", flush=True)
                fcntl.flock(held, fcntl.LOCK_EX)
            except OSError:  # of a network drive that knows no locks
                pass
        if not is_set_up(stamp, locks):
            set_up(stamp, locks)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\nCut. Run the same command again to go on.")
