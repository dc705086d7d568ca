"""Networks in files that other projects wrote: where in a file they are, whose file it is, and which one is meant.

A network is found by the names of a ResNet's first convolution and first block behind one prefix, at any depth of the
file, so a wrapper that nobody has thought of is no obstacle. The table says whose they are, and which of two it is that
the project itself hands on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golang.errors import CheckpointError
from golang.method.trunk import TRUNKS
from golang.weights.architectures import described
from golang.weights.spellings import SPELLINGS, TORCHVISION, Spelling

_DEEPEST = 8  # mappings within mappings that are looked into


@dataclass(frozen=True)
class Network:
    """A ResNet in a file."""

    path: tuple[str, ...]  # keys from the file's top to the mapping that holds its tensors
    prefix: str  # of their names there
    spelling: Spelling

    def __str__(self) -> str:
        return ".".join([*self.path, *self.prefix.split(".")]).strip(".")

    @property
    def words(self) -> list[str]:
        return str(self).split(".")

    def inside(self, name: str) -> str:
        """The name of one of its tensors without the prefix; "" for a tensor that is none of its."""
        return name.removeprefix(self.prefix) if name.startswith(self.prefix) else ""

    @property
    def base(self) -> str:
        """The prefix that heads beside the trunk have."""
        return self.prefix.removesuffix("trunk.") if self.native else self.prefix

    def shortened(self, name: str) -> str:
        """A name in its mapping without that prefix."""
        return name.removeprefix(self.base)

    @property
    def native(self) -> bool:
        """Whether it is as this project and the ones that it descends from write it."""
        return self.spelling is TORCHVISION and self.prefix in ("", "module.", "trunk.", "module.trunk.")


@dataclass(frozen=True)
class Project:
    """Whose file it is. `taken` is the word on the way to the network that is meant, and `others` those to its
    companions, which are averages of it or its students."""

    name: str
    taken: str = ""
    others: tuple[str, ...] = ()
    beside: str = ""  # a key that its files have
    spelling: str = ""
    both: bool = False  # whether it takes a companion, too, to know it by

    @property
    def classifier(self) -> bool:
        return self.both or not self.others

    def pick(self, networks: Sequence[Network], keys: Sequence[str]) -> Network | None:
        """The network that is meant, if this is the project's file; None where it is not."""
        mine = [one for one in networks if self.taken in (*one.words, "")]
        mine = [one for one in mine if not set(self.others) & set(one.words)]
        rest = [one for one in networks if one not in mine]
        if len(mine) != 1 or not all(set(self.others) & set(one.words) for one in rest) or self.both > bool(rest):
            return None
        fits = self.beside in (*keys, "") and self.spelling in (mine[0].spelling.name, "")
        return mine[0] if fits else None


_NOBODY = Project("")
PROJECTS = (
    Project("mmselfsup", "backbone", ("encoder_q", "encoder_k", "online_net", "target_net"), both=True),
    Project("mmselfsup or mmpretrain", "backbone", beside="meta"),
    Project("MoCo", "encoder_q", ("encoder_k",)),
    Project("MoCo v3", "base_encoder", ("momentum_encoder",)),
    Project("DINO", "teacher", ("student",)),
    Project("BYOL", "online_encoder", ("target_encoder",)),
    Project("BYOL", "online_network", ("target_network",)),
    Project("BYOL", "online_network_state_dict", ("target_network_state_dict",)),
    Project("BYOL", "online_net", ("target_net",)),
    Project("BYOL", "online_backbone", ("target_backbone",)),
    Project("PixPro", "encoder", ("encoder_k",), both=True),
    Project("DINO", "teacher_backbone", ("student_backbone",)),
    Project("lightly", "backbone", ("backbone_momentum", "student_backbone"), both=True),
    Project("lightly", "backbone", spelling="sequential"),
    Project("solo-learn", "backbone", ("momentum_backbone",), beside="pytorch-lightning_version"),
    Project("solo-learn", "backbone", ("momentum_backbone",), both=True),
    Project("PyTorch Lightning", beside="pytorch-lightning_version"),
    Project("VISSL", "_feature_blocks"),
    Project("timm", "state_dict_ema", ("state_dict",), both=True),
    Project("torchvision", "model_ema", ("model",), both=True),
    Project("Hugging Face", spelling="huggingface"),
    Project("detectron2", spelling="detectron2"),
)


@dataclass(frozen=True)
class Found:
    """The network that is read from a file, whose it is, and what there is to say about the choice."""

    network: Network
    project: str  # "" where nobody's in particular
    classifier: bool  # whether what is called fc behind it is one; where it learns from a companion it projects
    said: str


def find(content: Mapping[str, Any], take: str | None, path: Path) -> Found:
    """The network that is meant, or, where `take` is given, the one on whose way its words are.

    Raises CheckpointError where several are as good, and where `take` is none's or several networks'.
    """
    networks, keys = list(_networks(content, (), set())), list(content)
    named = ", ".join(f"`{one}`" for one in networks)
    known = [(project, one) for project in PROJECTS if (one := project.pick(networks, keys))]
    if take is not None:
        fitting = [one for one in networks if str(one) == take]
        fitting = fitting or [one for one in networks if f".{take.strip('.')}." in f".{one}."]
        if len(fitting) != 1:
            number = len(fitting) or "none"
            raise CheckpointError(f"{path}: {number} of its networks are at --take {take}; there are {named or 'none'}")
        project = known[0][0] if known else _NOBODY
        return Found(fitting[0], project.name, project.classifier, f"taken is `{fitting[0]}`, as --take {take} says")
    if not networks:
        if what := described(_names(content)):
            raise CheckpointError(f"{path} is of another architecture than {', '.join(TRUNKS)}: it is {what}")
        return Found(_presumed(content), "", True, "")
    how = f"`python -m golang.weights {path} OUT --to trunk --allow --take {{}}` takes"
    if len(networks) > 1 and not known:
        raise CheckpointError(f"{path} holds {len(networks)} networks, {named}; {how.format(networks[0])} the first")
    project, one = known[0] if known and not (len(networks) == 1 and networks[0].native) else (_NOBODY, networks[0])
    said = ""
    if others := [other for other in networks if other is not one]:
        said = f"taken is `{one}`, as {project.name} itself does; {how.format(others[0])} its companion"
    return Found(one, project.name, project.classifier, said)


def beside(content: Mapping[str, Any], network: Network) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The mapping that holds the network, and the names of all that lies outside it."""
    left: list[str] = []
    for depth, key in enumerate(network.path):
        left += [".".join([*network.path[:depth], name]) for name in content if name != key]
        content = content[key]
    return dict(content), tuple(left)


def _networks(content: Mapping[str, Any], path: tuple[str, ...], seen: set[int]) -> Iterator[Network]:
    """Every ResNet in a mapping and in those within it, the outer ones first."""
    if id(content) in seen or len(path) > _DEEPEST:
        return
    seen.add(id(content))
    for spelling in SPELLINGS:
        stem, block = spelling.of("conv1.weight"), spelling.of("layer1.0.conv1.weight")
        for name in content:
            prefix = name.removesuffix(block)
            if prefix != name and (not prefix or prefix.endswith(".")) and prefix + stem in content:
                yield Network(path, prefix, spelling)
    for key, value in content.items():
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            yield from _networks(value, (*path, key), seen)


def _names(content: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The keys of a mapping and of those within it."""
    for key, value in content.items():
        yield str(key)
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _names(value, depth + 1)


def _presumed(content: Mapping[str, Any]) -> Network:
    """Where a network should be of which too little is there to find it."""
    path = next(((key,) for key in ("state_dict", "model") if isinstance(content.get(key), Mapping)), ())
    names = list(content[path[0]] if path else content)
    prefix = "module." if names and all(str(name).startswith("module.") for name in names) else ""
    own = any(str(name).startswith(f"{prefix}trunk.") for name in names)
    return Network(path, prefix + "trunk." * own, TORCHVISION)
