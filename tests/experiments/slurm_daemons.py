"""SLURM's own daemons on this machine, from the system's packages, for as long as a test needs."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

PACKAGES: Final = "slurmctld slurmd slurm-client munge"
"""Of Debian and Ubuntu."""

_DAEMONS: Final = ("munged", "slurmctld", "slurmd")
_PATH: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_WAIT: Final = 30.0

_SETTINGS: Final = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
KillWait=1
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""
"""No accounting, as on many small clusters; a job that is queued again need not wait two minutes
for its old credentials to end."""


def missing_daemons() -> list[str]:
    """Return those of the daemons that are not installed."""
    return [name for name in _DAEMONS if shutil.which(name, path=_PATH) is None]


class NoDaemonsError(Exception):
    """SLURM's daemons cannot be had here; the message says why."""


@contextmanager
def slurm_daemons(folder: Path, cpus: int) -> Iterator[dict[str, str]]:
    """Run munged, slurmctld and slurmd; give the variables by which the commands find them.

    Args:
        folder: for all of their files; its path has to be short, for a socket lies in it.
        cpus: that the one node says it has.

    Raises:
        NoDaemonsError: they are not installed, or do not come up.
    """
    if missing := missing_daemons():
        raise NoDaemonsError(f"{', '.join(missing)} not installed: apt-get install {PACKAGES}")
    folder.chmod(0o711)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    settings = folder / "slurm.conf"
    settings.write_text(
        _SETTINGS.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            ports=_free_ports(2),
            cpus=cpus,
        )
    )
    variables = {"SLURM_CONF": str(settings)}
    munged = ["munged", "--foreground", "--force", "--num-threads=1"]
    files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged += [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
    with ExitStack() as stack:
        for command in (
            [*munged, f"--key-file={key}"],
            ["slurmctld", "-D", "-f", str(settings)],
            ["slurmd", "-D", "-f", str(settings)],
        ):
            stack.enter_context(_daemon(command, folder, variables))
        _await_node(folder, variables)
        stack.callback(_cancel_all, variables)
        yield variables


@contextmanager
def _daemon(command: list[str], folder: Path, variables: dict[str, str]) -> Iterator[None]:
    program = shutil.which(command[0], path=_PATH)
    assert program is not None
    with (folder / f"{command[0]}.out").open("wb") as out:
        process = subprocess.Popen(
            [program, *command[1:]], stdout=out, stderr=out, env={**os.environ, **variables}
        )
    try:
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _await_node(folder: Path, variables: dict[str, str]) -> None:
    until = time.monotonic() + _WAIT
    said = ""
    while time.monotonic() < until:
        asked = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            capture_output=True, text=True, check=False, env={**os.environ, **variables},
        )  # fmt: skip
        said = asked.stdout.strip() or asked.stderr.strip()
        if said == "idle":
            return
        time.sleep(0.2)
    words = {name: (folder / f"{name}.out").read_text()[-500:] for name in _DAEMONS}
    raise NoDaemonsError(f"the daemons do not come up ({said}): {words}")


def _cancel_all(variables: dict[str, str]) -> None:
    """End all jobs, which would outlive the daemons."""
    there = {**os.environ, **variables}
    mine = f"--user={os.getuid()}"
    subprocess.run(["scancel", mine], check=False, env=there)
    until = time.monotonic() + _WAIT
    while (
        time.monotonic() < until
        and subprocess.run(
            ["squeue", "--noheader", mine], capture_output=True, check=False, env=there
        ).stdout
    ):
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
