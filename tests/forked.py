"""Calls of snakemake, and the jobs that they start, with all that they import imported already.

Importing TensorFlow, pandas and Snakemake takes most of a short study's time, a hundred times over. Here a server does it
once, and forks each call of snakemake and each of its scripts: processes of their own, as everywhere else, in the folder,
with the environment and the streams that they are given. Where a test signals or kills a call, its jobs start as
everywhere else (`SnakemakeProcess`); what measures processes starts real ones.

As a program, this is the server (SOCKET), and under the name in JOB what snakemake takes for Python: it hands its
arguments, its folder, its environment and its streams on to the server, and ends as the job does.
"""

import array
import atexit
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

SOCKET = "BATON_TEST_SERVER"
PRELOADED = "tensorflow keras pandas sklearn.metrics scipy.stats matplotlib.figure h5py safetensors.numpy filelock tqdm"
JOB = """#!{python} -IS
import sys
sys.path.append({folder!r})
import forked
forked.run_job()
"""


@cache
def start_server():
    """Start the server of this process, which ends with it; return its socket's path and that of JOB."""
    folder = Path(tempfile.mkdtemp(prefix="forked"))
    path, job = folder / "socket", folder / "python"
    job.write_text(JOB.format(python=sys.executable, folder=str(Path(__file__).parent)))
    job.chmod(0o755)
    command = [sys.executable, __file__, str(path)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert server.stdout and server.stdout.readline() == b"ready\n"
    atexit.register(server.stdin.close)
    return str(path), str(job)


def run_snakemake(arguments, folder, output, environment, timeout):
    """Run snakemake in `folder` with these arguments; what it prints goes to the file `output`. Return its exit code.

    environment: None for this process's; timeout: seconds, after which it is killed and TimeoutExpired raised.
    """
    path, job = start_server()
    environment = dict(os.environ if environment is None else environment) | {SOCKET: path}
    with open(os.devnull) as nothing, open(output, "wb") as file:
        streams = [nothing.fileno(), file.fileno(), file.fileno()]
        process = Process(path, [job, "-m", "snakemake", *arguments], str(folder), environment, streams)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def run_job():
    """Be what JOB says."""
    process = Process(os.environ[SOCKET], sys.argv, os.getcwd(), dict(os.environ), [0, 1, 2])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: os.kill(process.pid, number))
    sys.exit(process.wait())


class Process:
    """A process that the server forked, in a session of its own; what subprocess.Popen can do, as far as it is needed."""

    def __init__(self, path, words, folder, environment, streams):
        """path: the server's socket; words: Python, then its arguments; streams: three file numbers."""
        request = json.dumps([words, folder, environment]).encode("utf-8", "surrogateescape")
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
        self.server.sendmsg([struct.pack("!I", len(request))], rights)
        self.server.sendall(request)
        (self.pid,) = struct.unpack("!i", receive(self.server, 4))
        self.returncode = None

    def wait(self, timeout=None):
        """Return the exit code, negative for a signal. Raises subprocess.TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self.server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            (self.returncode,) = struct.unpack("!i", receive(self.server, 4))
            self.server.close()
        return self.returncode

    def poll(self):
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class SnakemakeProcess(Process):
    """A call of snakemake whose own imports are made already, and whose jobs start with a Python of their own."""

    def __init__(self, arguments, folder, output, environment=None):
        """output: an open file, for what it prints; environment: None for this process's."""
        with open(os.devnull) as nothing:
            super().__init__(
                start_server()[0],
                [sys.executable, "-m", "snakemake", *arguments],
                str(folder),
                dict(os.environ if environment is None else environment),
                [nothing.fileno(), output.fileno(), output.fileno()],
            )


def receive(connection, count):
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("the server is gone")
        parts += part
    return parts


# --- The server


def serve(path):
    # As baton.training.kernels does before TensorFlow is imported; that of the tree that is tested is not known here.
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    for name in PRELOADED.split():
        __import__(name, fromlist=["_"])
    __import__("snakemake.cli")
    __import__("snakemake.script")
    sys.path.remove(str(Path(__file__).parent))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            answer(connection)
            os._exit(0)
        connection.close()


def answer(connection):
    """Fork what is asked for, and send its process number and, when it has ended, its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header, streams, _, _ = socket.recv_fds(connection, 4, 3)
    request = receive(connection, struct.unpack("!I", header)[0])
    pid = os.fork()
    if pid == 0:
        connection.close()
        become(*json.loads(request.decode("utf-8", "surrogateescape")), streams)
    connection.sendall(struct.pack("!i", pid))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(struct.pack("!i", code))


def become(words, folder, environment, streams):
    """Be the process that is asked for, to its end."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    code = 0
    try:
        job, *words = words
        if words[0] == "-m":
            sys.executable, sys.argv = job, [words[1], *words[2:]]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            sys.path.insert(0, os.path.dirname(words[0]))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
