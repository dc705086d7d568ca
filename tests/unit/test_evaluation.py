import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from golang.config import Config, Data, Toy
from golang.data.images import ImageSet
from golang.errors import CheckpointError, DataError
from golang.evaluation import features
from golang.evaluation.features import Features
from golang.evaluation.probe import finished
from golang.evaluation.probe import regression as linear
from golang.method.collapse import collapsed, counts_from, uniform_losses
from golang.method.model import build_model
from golang.runfolder.checkpoints import Entry
from golang.runfolder.folder import RunFolder
from golang.weights import sealed

CPU = torch.device("cpu")
TINY = {
    "seed": 3,
    "precision": "fp32",
    "device": "cpu",
    "queue": {"length": 0},
    "data": {"name": "toy", "workers": 0, "toy": {"classes": 5, "size": 32, "train": 40, "val": 24, "seed": 2}},
    "model": {
        "trunk": "small",
        "hidden_dim": 16,
        "feature_dim": 8,
        "group_heads": 4,
        "prototypes": 6,
        "local_prototypes": 6,
    },
    "augment": {"large_size": 32, "small_count": 0},
}


def separable(rows: int = 300, noise: float = 0.3, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    labels = (rng.random((2 * rows, 4)) < 0.3).astype(np.uint8)
    mix = rng.normal(size=(4, 12))
    x = (labels @ mix + noise * rng.normal(size=(2 * rows, 12))) * np.logspace(-3, 3, 12) + 5
    x = x.astype(np.float32)
    return Features(x[:rows], labels[:rows], x[rows:], labels[rows:])


def test_probe_reads_linear_labels_whatever_the_scale_of_units():
    assert linear.linear_probe(separable(), seed=0).result.mean > 0.98


def test_probe_of_noise_is_chance():
    found = separable()
    noise = np.random.default_rng(1).normal(size=found.train.shape).astype(np.float32)
    result = linear.linear_probe(Features(noise, found.train_labels, noise, found.val_labels), seed=0).result
    assert abs(result.mean - linear.chance(found.val_labels).mean) < 0.1


def test_probe_repeats_exactly_and_the_seed_moves_the_held_out_part_only():
    found = separable(noise=3.0)
    first, again, other = (linear.linear_probe(found, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.result.per_class, again.result.per_class)
    assert first.held_out != other.held_out


def test_probe_solves_the_problem_that_scikit_learn_solves():
    from sklearn.linear_model import LogisticRegression

    found, l2 = separable(noise=3.0), 1e-2
    fitted = linear._Regression(found.train, found.train_labels, CPU).fit(l2)
    standard = (found.train - found.train.mean(0, dtype=np.float64)) / found.train.std(0, dtype=np.float64)
    theirs = LogisticRegression(C=1 / (l2 * len(standard)), tol=1e-10, max_iter=2000)
    theirs.fit(standard, found.train_labels[:, 0])
    assert np.allclose(fitted.logits(found.train)[:, 0], theirs.decision_function(standard), atol=1e-3)


def test_probe_leaves_out_what_is_labelled_unknown():
    found = separable()
    labels = found.train_labels.copy()
    labels[::2] = 255
    wrong = found.train.copy()
    wrong[::2] *= -1
    assert linear.linear_probe(Features(wrong, labels, found.val, found.val_labels), seed=0).result.mean > 0.9


def test_a_dead_unit_does_no_harm():
    found = separable()
    train, val = found.train.copy(), found.val.copy()
    train[:, 0], val[:, 0] = 1.0, 1.0 + 1e-3
    assert linear.linear_probe(Features(train, found.train_labels, val, found.val_labels), seed=0).result.mean > 0.9


def test_features_that_are_not_numbers_are_refused():
    found = separable()
    found.train[3, 3] = np.nan
    with pytest.raises(DataError, match="diverged"):
        linear.linear_probe(found, seed=0)


def test_chance_is_the_share_of_positives_among_the_known():
    labels = np.array([[1, 0, 255], [0, 0, 1], [0, 0, 0], [1, 0, 0]], np.uint8)
    found = linear.chance(labels)
    assert found.per_class.tolist() == pytest.approx([0.5, 0.0, 1 / 3])
    assert found.empty == (1,)


def test_big_images_are_resized_and_cut_and_small_generated_ones_taken_whole():
    image = Image.new("RGB", (400, 300), (9, 9, 9))
    assert features.view(image, whole=False).shape == (3, 224, 224)
    assert features.view(image, whole=True).shape == (3, 300, 400)
    assert features.takes_whole(Data(name="toy", toy=Toy(size=64)))
    assert not features.takes_whole(Data(name="toy", toy=Toy(size=224)))
    assert not features.takes_whole(Data(name="coco2014"))


def test_features_leave_the_trunk_as_it_was(tmp_path):
    for n in range(3):
        Image.new("RGB", (32, 32), (40 * n, 90, 10)).save(tmp_path / f"{n}.png")
    images = ImageSet.of(tmp_path, [f"{n}.png" for n in range(3)])
    trunk = build_model(Config.from_dict(TINY)).trunk
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    (first, again), kept = features.pooled_features([trunk, trunk], images, CPU, whole=True)
    assert kept.tolist() == list(range(len(images)))
    assert first.shape == (3, trunk.channels) and np.array_equal(first, again)
    assert trunk.training
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_saved_features_come_back_for_their_own_checkpoint_only(tmp_path):
    path, found = tmp_path / "evaluation" / "features.npz", separable()
    features.save(path, found, "step_1.pt")
    back = features.load(path, "step_1.pt")
    assert back is not None and np.array_equal(back.val, found.val)
    assert features.load(path, "step_2.pt") is None
    path.write_bytes(b"half")
    assert features.load(path, "step_1.pt") is None
    assert [p.name for p in path.parent.iterdir()] == ["features.npz"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a checkpoint of an untrained network at step 4."""
    folder = tmp_path_factory.mktemp("run")
    config = Config.from_dict({**TINY, "data": {**TINY["data"], "root": str(folder / "toy")}})
    run = RunFolder.create(folder / "run", config)
    attempt = run.start_attempt(1, {}, None)
    line = {"step": 4, **{name: value + 0.1 for name, value in uniform_losses(config).items()}}
    run.metrics_file.write_text(json.dumps({**line, "step": 2}) + "\n" + json.dumps(line) + "\n")
    state = {"model": build_model(config).state_dict(), "step": 4}
    sealed.write(Entry.at(run, 4, attempt.number).path, state)
    return run


def test_an_evaluation_is_written_once_and_reused(run, monkeypatch):
    first = finished.probe_run(run)
    facts = json.loads((run.path / "evaluation" / "linear.json").read_text())
    assert facts["checkpoint"] == first.checkpoint == "step_00000004.a00.pt"
    assert len(facts["per_class"]) == 5 and facts["settings"]["val_images"] == 24
    # This network has not been trained, so both rows are the same measurement.
    assert first.linear == first.random_init
    assert np.mean(list(first.linear.per_class.values())) == pytest.approx(first.linear.mAP, abs=1e-3)
    monkeypatch.setattr(finished, "linear_probe", None)
    assert finished.probe_run(run) == first


def test_a_run_without_a_checkpoint_says_so(tmp_path):
    RunFolder.create(tmp_path / "run", Config.from_dict(TINY))
    with pytest.raises(CheckpointError, match="train it first"):
        finished.probe_run(RunFolder(tmp_path / "run"))


def test_the_end_of_the_demo_shows_table_pictures_and_commands(run):
    import io

    pytest.importorskip("matplotlib")
    from golang.evaluation.summary import show_results

    out = io.StringIO()
    show_results(run.path, out)
    text = out.getvalue()
    assert re.search(r"GOLANG +\d+\.\d.*\n.*random-init trunk +\d+\.\d.*\n.*chance +\d+\.\d", text)
    for name in ("curves.png", "attention.png"):
        path = run.path / "evaluation" / name
        assert str(path) in text
        with Image.open(path) as picture:
            assert min(picture.size) > 300
    assert "python run.py" in text


def test_attention_is_shown_relative_to_uniform(run):
    from golang.evaluation.pictures.attention import head_attention

    model, _, _ = finished.load_model(run, CPU)
    excess, (height, width) = head_attention(model, torch.randint(0, 255, (3, 3, 32, 32), dtype=torch.uint8))
    assert excess.shape == (3, 4, height * width)
    assert np.allclose(excess.mean(2), 0, atol=1e-3)  # attention sums to 1
    assert np.abs(excess).max() < 100 * (np.e**2 - 1)  # unit embeddings: within e^±1 of each other's


def test_without_matplotlib_the_demo_ends_with_one_line_about_it(run, monkeypatch):
    import io

    from golang import drawing
    from golang.evaluation.summary import show_results

    def missing(name):
        raise ImportError("No module named 'matplotlib'")

    monkeypatch.setattr(drawing.importlib, "import_module", missing)
    out = io.StringIO()
    show_results(run.path, out)
    assert "no pictures: pictures need matplotlib" in out.getvalue()


def history(value: float, lines: int = 5) -> dict[str, list[float]]:
    return {name: [value * level] * lines for name, level in uniform_losses(Config.from_dict(TINY)).items()}


@pytest.mark.parametrize(
    ("losses", "collapse"),
    [(history(1.0), True), (history(0.996), True), (history(0.99), False), (history(1.2), False)],
)
def test_collapse_is_a_loss_that_sits_at_ln_k(losses, collapse):
    config = Config.from_dict(TINY)
    message = collapsed(losses, config)
    assert bool(message) is collapse
    if message:
        assert "method.epsilon" in message and "optim.base_lr" in message and "prototypes (now 6)" in message


def test_collapse_is_hardly_any_prototype_in_use():
    config = Config.from_dict({**TINY, "model": {**TINY["model"], "prototypes": 1000}})
    healthy = {name: [0.8 * level] * 5 for name, level in uniform_losses(config).items()}
    assert collapsed({**healthy, "prototype_perplexity": [400.0, *[5.0] * 4]}, config) is None
    message = collapsed({**healthy, "prototype_perplexity": [5.0] * 5}, config)
    assert message is not None and "prototype_perplexity 5.0 of 1000" in message and "method.epsilon" in message


def test_a_loss_that_passes_through_ln_k_has_not_collapsed():
    config = Config.from_dict(TINY)
    assert collapsed(history(1.0, lines=4), config) is None
    falling = history(1.0)
    falling["loss"][0] *= 1.01
    assert collapsed(falling, config) is None


def test_collapse_counts_after_warm_up_and_freeze():
    config = Config.from_dict({**TINY, "optim": {"warmup_epochs": 2, "freeze_iterations": 30}})
    assert counts_from(config, 10) == 31 and counts_from(config, 100) == 201
