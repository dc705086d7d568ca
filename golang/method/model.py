"""The networks: SwAV's global branch, and GOLANG, which adds semantic attention and local prototypes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from golang.config import NUM_LARGE, Config
from golang.method.attention import local_views, semantic_attention
from golang.method.heads import ProjectionHead, Prototypes, normalised
from golang.method.trunk import Trunk, build_trunk


@dataclass
class Branches:
    """One forward pass. b images, V crops each, n local views a large crop; rows are view-major."""

    embedding: Tensor  # [V·b, D], unit length
    logits: Tensor  # [V·b, K]
    attention: Tensor | None = None  # [2·b, D, P]
    local_features: Tensor | None = None  # [2·b·n, C]
    local_embedding: Tensor | None = None  # [2·b·n, D], unit length
    local_logits: Tensor | None = None  # [2·b·n, K_local]
    cross_logits: Tensor | None = None  # [2·b, K]


FeatureMaps = Callable[[Tensor, Tensor | None], list[Tensor]]  # of large and, where there are any, small crops


class SwAV(nn.Module):
    """Trunk, projection head and prototypes; each size of crop passes the trunk once (arXiv 2006.09882)."""

    def __init__(self, trunk: Trunk, hidden: int, features: int, prototypes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection_head = ProjectionHead(trunk.channels, hidden, features)
        self.prototypes = Prototypes(features, prototypes)
        self.feature_maps: FeatureMaps = trunk.feature_maps

    def forward(self, large: Tensor, small: Tensor | None = None) -> Branches:
        """large [2·b, 3, S, S] and small [m·b, 3, s, s], rows v·b + i."""
        return Branches(*self._global_branch(self.feature_maps(large, small)))

    def _global_branch(self, feature_maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The first two of Branches."""
        pooled = [feature_map.mean((2, 3)) for feature_map in feature_maps]
        embedding = normalised(self.projection_head(torch.cat(pooled)), dim=1)
        return embedding, self.prototypes(embedding)

    @torch.no_grad()
    def normalise_prototypes(self) -> None:
        """Gives every prototype of every branch unit length: the first act of a step."""
        for module in self.children():
            if isinstance(module, Prototypes):
                module.normalise()


class GOLANG(SwAV):
    """Adds local views formed by semantic attention, their prototypes, and local-to-global prediction."""

    def __init__(
        self, trunk: Trunk, hidden: int, features: int, prototypes: int, local_prototypes: int, group_heads: int,
        attention_temperature: float = 1.0, detach_cross_view: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(trunk, hidden, features, prototypes)
        self.local_projection_head = ProjectionHead(trunk.channels, hidden, features)
        self.local_prototypes = Prototypes(features, local_prototypes)
        self.l2g_prototypes = Prototypes(features, prototypes)
        self.group_heads = group_heads
        self.attention_temperature = attention_temperature
        self.detach_cross_view = detach_cross_view

    def attend(self, feature_map: Tensor) -> Tensor:
        """Semantic attention [M, D, P] of a feature map [M, C, h, w], positions row-major."""
        positions = self.projection_head.at_positions(feature_map.flatten(2).transpose(1, 2))
        return semantic_attention(positions, self.attention_temperature)

    def forward(self, large: Tensor, small: Tensor | None = None) -> Branches:
        maps = self.feature_maps(large, small)
        feature_map = maps[0]
        # Attention first: the projection head's running statistics see the positions before the pooled features.
        attention = self.attend(feature_map)
        features = local_views(feature_map.flatten(2), attention, self.group_heads)
        embedding, logits = self._global_branch(maps)
        local = normalised(self.local_projection_head(features), dim=1)
        seen = local.detach() if self.detach_cross_view else local
        whole = normalised(seen.view(len(large), -1, seen.shape[1]).mean(1), dim=1)
        local_logits, cross_logits = self.local_prototypes(local), self.l2g_prototypes(whole)
        return Branches(embedding, logits, attention, features, local, local_logits, cross_logits)


def split_views(rows: Tensor, images: int) -> Tensor:
    """View-major rows [V·b, …] as [V, b, …]."""
    return rows.view(-1, images, *rows.shape[1:])


def large_views(rows: Tensor, images: int) -> Tensor:
    """The large crops' part [2, b, …] of view-major rows [V·b, …]."""
    return split_views(rows[: NUM_LARGE * images], images)


def display_name(config: Config) -> str:
    """The method's name as its authors write it."""
    return {"golang": "GOLANG", "swav": "SwAV"}[config.method.name]


def build_model(config: Config) -> SwAV:
    """The network of `config`; its initial weights are a function of the seed alone."""
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        trunk = build_trunk(model.trunk)
        shared = (trunk, model.hidden_dim, model.feature_dim, model.prototypes)
        if config.method.name == "swav":
            return SwAV(*shared)
        attention, cross_view = config.attention, config.cross_view
        return GOLANG(*shared, model.local_prototypes, model.group_heads, attention.temperature, cross_view.detach)
