"""What the daemons read: slurm.conf, gres.conf, slurmdbd.conf and the rest of one cluster's folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .processes import ClusterError

# Below the kernel's ephemeral ports (32768 to 60999), which any client on the machine may be holding.
PORTS = range(10000, 32768)
_NODE_PORTS = 10  # offset of the first node's port in the block
_LONGEST_FOLDER = 107 - len("/spool/n99/n99_67108863.4294967294")  # a Unix socket's path has 107 bytes
_MANY = {"nodename", "partitionname"}  # keys of slurm.conf that may come more than once
_DAEMONS = ("slurmctld", "slurmdbd", "mariadbd", "munged")
_PARTS = ("hosts", "etc", "run", "log", "state", "spool", "dev", "munge", "db")


@dataclass(frozen=True)
class Config:
    """A cluster. Times in seconds; everything it writes is below `folder`."""

    folder: Path
    nodes: int = 3
    cpus: int = 4
    """CPUs per node that Slurm believes in; they may be more than the machine's."""
    gpus: int = 2
    """Fake GPUs per node: jobs get CUDA_VISIBLE_DEVICES, nothing more."""
    grace: int = 10
    """What a preempted job of partition `low` has left before KillWait and SIGKILL; 0 gives it no warning."""
    kill_wait: int = 5
    slurmd_timeout: int = 20
    """How long a silent node is believed in before it is DOWN and its jobs are requeued."""
    cred_expire: int = 5
    """A requeued job starts again no sooner than this; Slurm takes less than 5 for 120."""
    accounting: bool = False
    """Run slurmdbd and MariaDB, so that sacct works."""
    preempt_send_user_signal: bool = False
    """Preemption sends the signal of `--signal=` as well, before SIGTERM."""
    requeue_allowed: bool = True
    """JobRequeue: whether jobs are requeued that did not ask for it with `--requeue`."""
    preempt_mode: str = "REQUEUE"
    """What becomes of preempted jobs: REQUEUE, CANCEL or SUSPEND (which spares jobs that are `--exclusive`)."""
    max_array_size: int = 10001
    base_port: int = 0
    """First port of the cluster's block; 0 looks for a free block."""
    extra: tuple[str, ...] = ()
    """Lines for slurm.conf. One with a key that is there already takes its place."""

    def __post_init__(self) -> None:
        if self.preempt_mode not in {"REQUEUE", "CANCEL", "SUSPEND"}:
            raise ValueError(f"preempt_mode is REQUEUE, CANCEL or SUSPEND, not {self.preempt_mode!r}")
        if not 1 <= self.nodes <= 99:
            raise ValueError(f"nodes is 1 to 99, not {self.nodes}")
        if isinstance(self.extra, str):
            raise ValueError(f"extra is a tuple of lines, not the text {self.extra!r}")
        if len(os.fsencode(self.folder.absolute())) > _LONGEST_FOLDER:
            raise ClusterError(
                f"{self.folder.absolute()}: too long for the sockets below it (at most {_LONGEST_FOLDER} bytes). "
                "Remedy: choose one with a shorter path."
            )

    @property
    def names(self) -> list[str]:
        """The node names: n1, n2, …"""
        return [f"n{index}" for index in range(1, self.nodes + 1)]

    @property
    def ports(self) -> int:
        """How many ports the cluster's block has."""
        return _NODE_PORTS + self.nodes


def free_block(size: int) -> int:
    """The first of `size` neighbouring ports nobody listens on. The search starts anywhere, so that clusters that
    start at the same moment do not choose the same block."""
    starts = list(range(PORTS.start, PORTS.stop - size, size))
    random.SystemRandom().shuffle(starts)
    for start in starts:
        if all(_is_free(port) for port in range(start, start + size)):
            return start
    raise ClusterError(f"no {size} neighbouring free ports between {PORTS.start} and {PORTS.stop - 1} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports in TIME_WAIT are free enough
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def user_name() -> str:
    """The name of the user who runs everything, or the number of one without an entry in /etc/passwd."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def slurm_conf(config: Config, port: int) -> str:
    """slurm.conf: nodes n1…, partition low (default, preemptable) and high, which preempts it."""
    folder, last = config.folder.absolute(), config.nodes
    gang = ",GANG" if config.preempt_mode == "SUSPEND" else ""  # nobody would resume the suspended otherwise
    lines = f"""\
ClusterName=loopback
SlurmctldHost={socket.gethostname().partition(".")[0]}(127.0.0.1)
SlurmUser={user_name()}
SlurmdUser={user_name()}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket,cred_expire={config.cred_expire}
SlurmctldPort={port}
SlurmdPort={port + _NODE_PORTS - 1}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmctldDebug=debug
SlurmdDebug=debug
LogTimeFormat=iso8601_ms
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
JobRequeue={int(config.requeue_allowed)}
PreemptType=preempt/partition_prio
PreemptMode={config.preempt_mode}{gang}
KillWait={config.kill_wait}
OverTimeLimit=0
InactiveLimit=0
MinJobAge=300
SlurmctldTimeout=60
SlurmdTimeout={config.slurmd_timeout}
BatchStartTimeout=10
CompleteWait=0
EpilogMsgTime=1
SchedulerType=sched/backfill
SchedulerParameters={_SCHEDULER}
PriorityType=priority/basic
MaxArraySize={config.max_array_size}
{"SlurmctldParameters=preempt_send_user_signal" if config.preempt_send_user_signal else ""}
{_accounting(config, port)}
NodeName=n[1-{last}] NodeAddr=127.0.0.1 Port={port + _NODE_PORTS}-{port + config.ports - 1} CPUs={config.cpus} \
RealMemory=6000 {f"Gres=gpu:{config.gpus} " if config.gpus else ""}State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode={config.preempt_mode} \
GraceTime={config.grace}
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
""".splitlines()
    replaced = {_key(line) for line in config.extra} - _MANY
    kept = [line for line in lines if line and _key(line) not in replaced]
    return "\n".join([*kept, *config.extra, ""])


# Decide at once: a test waits for every pass of the scheduler.
_SCHEDULER = (
    "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,default_queue_depth=1000,"
    "bf_max_job_test=1000"
)


def _key(line: str) -> str:
    return line.partition("=")[0].strip().lower()


def _accounting(config: Config, port: int) -> str:
    if not config.accounting:
        return "AccountingStorageType=accounting_storage/none"
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port + 2}
AccountingStoragePass={config.folder.absolute()}/run/munge.socket
AccountingStorageTRES=gres/gpu"""


def slurmdbd_conf(config: Config, port: int) -> str:
    """slurmdbd.conf; MariaDB is on the block's second port, slurmdbd on its third."""
    folder = config.folder.absolute()
    return f"""\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port + 2}
SlurmUser={user_name()}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={port + 1}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
DebugLevel=info
CommitDelay=0
CommunicationParameters=NoInAddrAny
"""


def gres_conf(config: Config) -> str:
    """gres.conf for the fake GPUs. Slurm insists on device files whose names end in a number and never opens them."""
    if not config.gpus:
        return ""
    names = f"[0-{config.gpus - 1}]"
    fake = [config.folder.absolute() / "dev" / f"gpu{index}" for index in range(config.gpus)]
    devices = f"{fake[0].parent}/gpu{names}" if _make_devices(fake) else f"/dev/tty{names}"
    if devices.startswith("/dev/tty") and not all(Path(f"/dev/tty{i}").is_char_device() for i in range(config.gpus)):
        raise ClusterError(f"no devices to pose as GPUs: may not make any, and no {devices}. Remedy: gpus=0.")
    return f"AutoDetect=off\nNodeName=n[1-{config.nodes}] Name=gpu Flags=nvidia_gpu_env File={devices}\n"


def _make_devices(paths: Iterable[Path]) -> bool:
    try:
        for path in paths:
            if not path.is_char_device():
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # another /dev/null
    except PermissionError:  # only root makes devices
        return False
    return True


def is_ours(folder: Path) -> bool:
    """Whether a cluster was set up in `folder`, so that it may be written to and removed."""
    return (folder / "hosts" / _DAEMONS[0]).is_file()


def write(config: Config, port: int) -> None:
    """Write all that the daemons read. `ClusterError` for a folder that has something else in it."""
    folder = config.folder.absolute()
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(folder):
        raise ClusterError(f"{folder} is not empty and holds no cluster. Remedy: choose another folder.")
    for part in _PARTS:  # hosts first: it makes the folder ours
        (folder / part).mkdir(parents=True, exist_ok=True)
        if part == "hosts":
            hosts = Path("/etc/hosts").read_text() + "".join(f"127.0.0.1 {name}\n" for name in config.names)
            for name in (*_DAEMONS, *config.names):
                (folder / part / name).write_text(hosts)
    for name in config.names:
        (folder / "spool" / name).mkdir(exist_ok=True)
    (folder / "db").chmod(0o700)
    (folder / "munge").chmod(0o700)
    if not (key := folder / "munge" / "key").exists():
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
    (folder / "etc" / "slurm.conf").write_text(slurm_conf(config, port))
    (folder / "etc" / "gres.conf").write_text(gres_conf(config))
    if config.accounting:
        dbd = folder / "etc" / "slurmdbd.conf"
        dbd.touch(0o600)  # slurmdbd refuses to start from a file others may read
        dbd.write_text(slurmdbd_conf(config, port))


def remove(folder: Path) -> None:
    """Remove what `write` and the daemons put into `folder`, and the folder unless there is more in it."""
    if is_ours(folder):
        for part in reversed(_PARTS):
            shutil.rmtree(folder / part, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
