"""Whether a job alone asks for more than its account or QOS may ever have in use, by Slurm's own counts."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator, Mapping

from launch import slurm
from launch.errors import SlurmError

log = logging.getLogger(__name__)
_UNITS = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}  # of memory, in MiB


class Limits:
    """What limits jobs together, as Slurm says now; asked once, and once for each array."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, bool], str] = {}

    def above(self, job: slurm.Job) -> str:
        """A limit of the kind that the job waits for, if the job alone is above it, as a sentence; "" if it isn't, or
        where Slurm does not tell. Never raises."""
        array, of_account = job.id.partition("_")[0], job.reason.startswith("Assoc")  # an array's elements are alike
        if (array, of_account) not in self._said:
            try:
                said = self._above(array, of_account)
            except SlurmError as error:
                log.info("limits of job %s: %s", job.id, error)
                said = ""
            self._said[array, of_account] = said
        return self._said[array, of_account]

    def _above(self, job: str, of_account: bool) -> str:
        record = slurm.record(job)
        wanted = dict(_amounts(record.get("ReqTRES") or record.get("TRES", "")))
        minutes = slurm.duration(record.get("TimeLimit", "")) / 60
        for whose, line in (self._associations if of_account else self._qos)(record):
            for kind, values in re.findall(r"\b(GrpTRES|GrpTRESRunMins|MaxTRESPU|MaxTRESPA)=(\S+)", line):
                for what, most in re.findall(r"([\w/:]+)=(\d+)\(", values):
                    need = wanted.get(what, 0.0) * (minutes if kind == "GrpTRESRunMins" else 1)
                    if need > int(most):
                        unit = " minutes" if kind == "GrpTRESRunMins" else ""
                        return f"it asks for {what}={need:g}{unit}, and {whose} has {most} for all its jobs together"
        return ""

    def _associations(self, record: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Those that count the job, by name, each with its line: the account's, those above it, and the user's own."""
        found = re.findall(r"^(?:ClusterName=\S* )?(Account=(\S+) UserName=(\S*) .*)$", self._records, re.MULTILINE)
        pairs = [(account, re.search(r" ParentAccount=([^\s(]+)", line)) for line, account, user in found if not user]
        parents = {account: match[1] for account, match in pairs if match is not None}
        above = [record.get("Account", "")]
        while (parent := parents.get(above[-1], "")) and parent not in above:
            above.append(parent)
        own = (above[0], record.get("UserId", ""))
        for line, account, user in found:
            if (account, user) == own or (not user and account in above):
                yield f"your part of account {account}" if user else f"account {account}", line

    def _qos(self, record: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Those that count the job, by name, each with its line: its own and its partitions'."""
        partitions = slurm.partitions(record.get("Partition"), slurm.LOOK)
        names = {record.get("QOS", ""), *(partition.get("QoS", "") for partition in partitions)}
        for line, name in re.findall(r"^(QOS=([^\s(]+).*)$", self._records, re.MULTILINE):
            if name in names:
                yield f"QOS {name}", line

    @functools.cached_property
    def _records(self) -> str:
        return slurm.run(["scontrol", "--oneliner", "show", "assoc_mgr", "flags=assoc,qos"], slurm.LOOK)


def _amounts(text: str) -> Iterator[tuple[str, float]]:
    """From "cpu=2,mem=6000M,gres/gpu=1"; memory in MiB."""
    for what, amount, unit in re.findall(r"([\w/:]+)=([\d.]+)([KMGT]?)", text):
        yield what, float(amount) * _UNITS[unit]
