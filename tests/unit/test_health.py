"""What a run says about itself: means over the steps of a log line, counts of prototypes, norms."""

from __future__ import annotations

import math

import pytest
import torch

from golang.method.model import build_model
from golang.method.objective import Losses
from golang.method.permutations import local_permutations
from golang.method.signs import perplexity
from golang.training.meters import Meter, mean_metrics, parameter_norm
from tests.unit.test_method import crops, step_of, tiny


def test_meter_means() -> None:
    config = tiny(method={"name": "swav"})
    meter, step = Meter(config, torch.device("cpu")), step_of(config)
    losses, norms, assigned = [], [], []
    for iteration in range(2):
        losses.append(step(iteration, *crops(), None).total.item())
        norms.append(float(step.optimizer.gradient_norm))
        assigned += step.signs.assignments[0].tolist()
        meter.add(Losses(torch.tensor(losses[-1]), torch.tensor(0.0)), step.signs, step.optimizer)
    mean = mean_metrics(meter.read(), config)
    assert set(mean) == {"loss", "loss_global", "gradient_norm", "prototype_perplexity", "dead_prototypes"}
    assert mean["loss"] == pytest.approx(sum(losses) / 2) and mean["gradient_norm"] == pytest.approx(sum(norms) / 2)
    shares = torch.bincount(torch.tensor(assigned), minlength=config.model.prototypes) / len(assigned)
    assert mean["dead_prototypes"] == int((shares == 0).sum())
    assert math.log(mean["prototype_perplexity"]) == pytest.approx(float(-torch.xlogy(shares, shares).sum()), abs=1e-6)
    assert meter.sums.abs().sum() == 0


def test_perplexity() -> None:
    assert perplexity(torch.tensor([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert perplexity(torch.tensor([0.0, 5.0])) == pytest.approx(1) and perplexity(torch.zeros(4)) == 0


def test_attention_entropy_is_a_share_of_the_greatest() -> None:
    config = tiny(attention={"temperature": 1e6})
    step = step_of(config)
    step(0, *crops(), local_permutations("batch", 4, 0, 0, first_row=0, rows=4))
    assert float(step.signs.attention_entropy) == pytest.approx(1, abs=1e-5)
    assert [len(rows) for rows in step.signs.assignments] == [8, 8 * 4]


def test_skipped_steps_count_in_no_norm() -> None:
    config = tiny(method={"name": "swav"})
    meter, step = Meter(config, torch.device("cpu")), step_of(config)
    losses = step(0, *crops(), None)
    norm = float(step.optimizer.gradient_norm)
    for skipped, gradient_norm in ((False, norm), (True, math.inf)):
        step.optimizer.skipped, step.optimizer.gradient_norm = torch.tensor(skipped), torch.tensor(gradient_norm)
        meter.add(losses, step.signs, step.optimizer)
    assert mean_metrics(meter.read(), config)["gradient_norm"] == pytest.approx(norm)
    step.optimizer.skipped = torch.tensor(True)
    meter.add(losses, step.signs, step.optimizer)
    assert "gradient_norm" not in mean_metrics(meter.read(), config), "there was no update to speak of"


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 1), (1, 2)])
def test_meters_go_on_with_other_ranks(before: int, after: int) -> None:
    """Means over ranks stay means, and counts keep their total."""
    config = tiny(method={"name": "swav"})
    size = len(Meter(config, torch.device("cpu")).sums)
    saved = torch.rand(before, size, dtype=torch.float64)
    meters = [Meter(config, torch.device("cpu")) for _ in range(after)]
    assert all(meter.restore(saved, rank, after) for rank, meter in enumerate(meters))
    sums = torch.stack([meter.sums for meter in meters])
    assert torch.allclose(sums[:, :8].mean(0), saved[:, :8].mean(0))
    assert torch.allclose(sums[:, 8:].sum(0), saved[:, 8:].sum(0))
    assert not meters[0].restore(torch.ones(before, 5), 0, after), "of a version with five sums"


def test_parameter_norm() -> None:
    model = build_model(tiny())
    whole = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert parameter_norm(model) == pytest.approx(float(whole.norm()), rel=1e-5)
