"""A real Slurm of two nodes on this machine, for the tests and for trying things: all on loopback, no systemd.

    python tests/slurm/cluster.py install           # Debian's packages, where they are missing
    python tests/slurm/cluster.py start FOLDER      # the same, and the daemons
    . FOLDER/env.sh                                 # sbatch, squeue, ... now speak to it
    python tests/slurm/cluster.py stop FOLDER

It needs root, as Slurm's daemons do. Everything it writes is in FOLDER. With cgroups (version 1) jobs are
held as on a real cluster: nothing outlives its job, more memory than asked for is the end of it, and only
a step's first process is sent signals. Without, every process of a job is sent every signal.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "squeue": "slurm-client"}
NODES = ("node1", "node2")
CGROUPS = [Path("/sys/fs/cgroup/freezer"), Path("/sys/fs/cgroup/memory")]
WAIT = 60  # seconds for a daemon to answer
LOST_AFTER = 10  # seconds without its daemon until a node counts as down

CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
# CPUs and memory are what is said here, whatever the machine has.
SlurmdParameters=config_overrides
ProctrackType=proctrack/{track}
TaskPlugin=task/{task}
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout={lost_after}
KillWait=20
MinJobAge={min_job_age}
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
"""


class NoCluster(Exception):
    """Slurm cannot be installed on this machine; the message says why."""


def install():
    """Install Debian's packages of Slurm where they are missing. Raises NoCluster."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise NoCluster("Slurm's daemons need root")
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise NoCluster(f"Slurm is not installed, and there is no apt-get to do it: {', '.join(missing)}")
    # The packages would start daemons of their own.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command in ("update -qq", f"install -y -qq --no-install-recommends {' '.join(missing)}"):
            done = subprocess.run(
                ["apt-get", *command.split()],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise NoCluster(f"apt-get {command} failed: {done.stderr.strip()[-300:]}")
    finally:
        if ours:
            policy.unlink()


class Cluster:
    """Two nodes of two CPUs in `folder`, with a port of its own for each daemon."""

    def __init__(self, folder, memory=4000, min_job_age=300):
        """memory: MB of a node; min_job_age: seconds for which ended jobs are listed, 300 as Slurm has it."""
        self.folder, self.memory, self.min_job_age = Path(folder).resolve(), memory, min_job_age
        self.cgroups = all(os.access(group, os.W_OK) for group in CGROUPS)
        self.environment = os.environ | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }

    def start(self):
        """Start what does not run yet; return when both nodes take jobs."""
        for name in ("bin", "state", "log", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not (self.folder / "slurm.conf").exists():
            self._configure()
        if not self._process("munged"):
            munge = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
            munge |= {"log-file": "log/munged.log", "seed-file": "munge.seed"}
            # Forced: its folder may be one that only root can enter, as all of it is.
            self._start(
                ["munged", "--force", *(f"--{key}={self.folder / name}" for key, name in munge.items())]
            )
            self._wait(f"munge -n -S {self.folder / 'munge.socket'}")
        if not self._process("slurmctld"):
            self._start(["slurmctld"])
        for node in NODES:
            self.start_node(node)
        self._wait("sinfo -h -N -t idle,mix,alloc -o %N", *NODES)

    def start_node(self, node):
        """Start the daemon of a node, if it does not run."""
        if not self._process(f"slurmd.{node}"):
            self._start(["slurmd", "-N", node])

    def kill_node(self, node):
        """Kill the daemon of a node outright; the jobs there go on, and nobody hears of them."""
        process = self._process(f"slurmd.{node}")
        process.kill()
        process.wait(WAIT)

    def run(self, command):
        """Run one of Slurm's commands and return what it printed."""
        done = subprocess.run(command.split(), env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self):
        """Return all jobs that are listed, ended ones for a while, oldest first: id, what Snakemake calls them, state, node and memory (MB)."""
        lines = self.run("squeue -h --states=all --sort=i -o %A|%k|%T|%N|%m").splitlines()
        return [
            dict(zip(("id", "name", "state", "node", "memory"), line.split("|"), strict=True))
            for line in lines
        ]

    def stop(self):
        """End the jobs, the daemons, and what they left."""
        with contextlib.suppress(RuntimeError):
            self.run("scancel --signal=KILL --state=RUNNING --user=root")
        for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "munged"):
            if process := self._process(name):
                process.kill()
        # What runs jobs outlives a killed daemon; it carries the folder in its environment.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and self._is_ours(process):
                    process.kill()
        for group in CGROUPS:
            for node in NODES:
                for path in sorted((group / f"slurm_{node}").rglob("*/"), reverse=True):
                    with contextlib.suppress(OSError):
                        path.rmdir()
                with contextlib.suppress(OSError):
                    (group / f"slurm_{node}").rmdir()

    def _configure(self):
        with contextlib.ExitStack() as sockets:
            ports = []
            for _ in range(1 + len(NODES)):
                server = sockets.enter_context(socket.socket())
                server.bind(("127.0.0.1", 0))
                ports.append(server.getsockname()[1])
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory={self.memory}"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        how = ("cgroup", "cgroup") if self.cgroups else ("linuxproc", "none")
        text = CONFIG.format(
            host=host,
            port=ports[0],
            folder=self.folder,
            track=how[0],
            task=how[1],
            lost_after=LOST_AFTER,
            min_job_age=self.min_job_age,
            nodes=nodes,
        )
        if self.cgroups:
            lines = ("CgroupPlugin=cgroup/v1", "CgroupMountpoint=/sys/fs/cgroup", "CgroupAutomount=no")
            limits = ("ConstrainRAMSpace=yes", "ConstrainSwapSpace=no", "ConstrainCores=no")
            (self.folder / "cgroup.conf").write_text("\n".join([*lines, *limits, "ConstrainDevices=no", ""]))
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        # The plugin takes SLURM_CONF from the srun it starts inside a job; a real cluster has its config
        # where srun looks for it.
        wrapper = self.folder / "bin/srun"
        wrapper.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
        )
        wrapper.chmod(0o755)
        (self.folder / "env.sh").write_text(
            f"export SLURM_CONF={self.folder}/slurm.conf PATH={self.folder}/bin:$PATH\n"
        )
        (self.folder / "slurm.conf").write_text(text)

    def _start(self, command):
        log = self.folder / f"log/{command[0]}.out"
        with open(log, "a") as output:
            if subprocess.run(command, env=self.environment, stdout=output, stderr=output).returncode:
                raise RuntimeError(f"{command[0]} does not start: {log.read_text()[-300:]}")

    def _wait(self, command, *words):
        """Wait until a command succeeds and prints all `words`."""
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(RuntimeError):
                if set(words) <= set(self.run(command).split()):
                    return
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{command} gives no {' '.join(words)} in {WAIT} s: see {self.folder / 'log'}"
                )
            time.sleep(0.1)

    def _process(self, name):
        """Return the daemon that left a pid file, where it lives and is ours."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((self.folder / f"{name}.pid").read_text()))
            return process if self._is_ours(process) else None
        return None

    def _is_ours(self, process):
        # munged is told the folder by its arguments, the others by their environment.
        told = [*process.cmdline(), process.environ().get("SLURM_CONF", "")]
        return any(str(self.folder) in word for word in told)


if __name__ == "__main__":
    action, *place = sys.argv[1:]
    if action in ("install", "start"):
        install()
    if action in ("start", "stop"):
        getattr(Cluster(*place), action)()
