"""The id under which W&B knows a run, kept in the run's folder: the run's own id and a suffix drawn once."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, replace

from golang.config.identity import run_id
from golang.runfolder import files
from golang.runfolder.files import read_json
from golang.runfolder.folder import RunFolder

ID = "[0-9a-f]{8}-[0-9a-f]{8}"  # a run's own id, and the suffix


@dataclass(frozen=True)
class Ticket:
    """What a run's attempts tell each other about W&B."""

    id: str
    logged: int = 0  # the highest step that W&B's client was given: an attempt that starts further back repeats none
    whole: tuple[str, ...] = ()  # the folders of offline clients that have ended; what others hold may lack the end
    refused: str = ""  # an earlier id that W&B would not take, as that of a deleted run

    @classmethod
    def of(cls, run: RunFolder, durable: bool = True) -> Ticket:
        """The run's ticket; if there is none that makes sense, one is drawn and kept."""
        facts = read_json(run.ticket_file)
        id, logged, whole = facts.get("id"), facts.get("logged", 0), facts.get("whole", [])
        sound = isinstance(id, str) and re.fullmatch(ID, id) and type(logged) is int
        if sound and isinstance(whole, list) and all(isinstance(name, str) for name in whole):
            return cls(str(id), logged, tuple(whole), str(facts.get("refused", "")))
        return cls(_draw(run)).keep(run, durable)

    def noting(self, run: RunFolder, **facts: int | tuple[str, ...]) -> Ticket:
        """With other values of its fields, written down."""
        return replace(self, **facts).keep(run)  # type: ignore[arg-type]

    def anew(self, run: RunFolder) -> Ticket:
        """With another suffix, for an id that W&B refused, written down."""
        return Ticket(_draw(run), refused=self.id).keep(run)

    def keep(self, run: RunFolder, durable: bool = True) -> Ticket:
        """Writes it down."""
        run.wandb.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(run.ticket_file, json.dumps(asdict(self)) + "\n", durable)
        return self


def _draw(run: RunFolder) -> str:
    return f"{run_id(run.config())}-{secrets.token_hex(4)}"
