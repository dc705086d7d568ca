"""Every block of the README and the docs is run, or listed here with the reason why it can't be."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from golang.sources import ROOT
from tests.docs.blocks import Block, blocks, outside, pages
from tests.docs.conftest import Shell

INSTALLS = "installs from an index"
SLURM = "asks a Slurm; tests/slurm types it on a real one"
ENGINE = "needs Docker or Apptainer"
NOT_RUN = {  # blocks by their text, and why they are not run
    """\
golang launch watch own --web                   # the page of `launch report`, live, until Ctrl-C
golang launch watch own --web --port 8123       # a port of one's choice; by itself a free one
""": "serves until Ctrl-C; tests/unit/test_live.py asks it",
    """\
make setup     # .venv, from the exact pins; Python ≥ 3.10, git and make are all that must be there
make test      # the suite, under a quarter of an hour on two cores; says what to install for its Slurm parts
make lint      # ruff, mypy, the import rules
.ci/run        # what has to pass: both, and the Slurm tests on newer Slurms \
(as root it installs what it needs on Debian)
""": "this runs in it",
    """\
make setup
. .venv/bin/activate
golang --help
""": INSTALLS,
    """\
conda env create -f environment.yml
""": INSTALLS,
    """\
make setup TORCH=cpu TORCH_INDEX=ADDRESS
""": INSTALLS,
    """\
conda env create -f environment-cpu.yml
""": INSTALLS,
    """\
pip install "dist/golang_ssl-0.1.0-py3-none-any.whl[launch,tracking,fast,toy,export,transfer,table,report]"
""": "installs from an index; tests/unit/test_packaging.py installs the wheel without",
    """\
make test
""": "this runs in it",
    """\
make cluster
make cluster-down
""": SLURM,
    """\
golang launch doctor            # what Slurm and the disks here mean for runs, with remedies
golang launch doctor --probe    # sends two small jobs that try signals, files and locks
""": SLURM,
    """\
golang convert runs/photos golang-timm --to timm
python -c "import timm; timm.create_model('local-dir:golang-timm', pretrained=True)"
golang convert runs/photos golang-hf --to huggingface
python -c "import transformers; transformers.ResNetModel.from_pretrained('golang-hf')"
golang convert runs/photos golang-d2 --to detectron2
golang convert runs/photos golang-mm --to mmdet
""": "takes long; tests/unit loads each export with its library",
    """\
pip install faster-coco-eval
python run.py data=coco2017 data.root=datasets/coco checkpoint=RUN evaluation=detect_coco    # Mask R-CNN on COCO 2017
python run.py data=voc2007 data.root=datasets/voc checkpoint=RUN evaluation=detect_voc       # Faster R-CNN on VOC
python run.py data=voc2012 data.root=datasets/voc checkpoint=RUN evaluation=segment_voc      # FCN on VOC 2012 + SBD
""": "takes a GPU hours, and installs from an index; detect and segment of the same page are run",
    """\
make bench-gpu                         # the same from a plain checkout, on the GPU if there is one
""": "takes minutes; the benchmarks are asked for --help",
    """\
docker build --file containers/Dockerfile --tag golang .     # from the repository's top folder
apptainer build golang.sif containers/golang.def
""": ENGINE,
    """\
docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" --env USER --env HOME=/data --volume "$PWD:/data" \
golang train experiment=coco2014 data.root=coco
apptainer run --nv golang.sif train experiment=coco2014 data.root=coco
""": ENGINE,
}  # fmt: skip
LOADED = """
import torch, torchvision
found = torchvision.models.resnet18().load_state_dict(torch.load("photos.pth", weights_only=True), strict=False)
print(found.missing_keys, found.unexpected_keys)
"""
PAGES = {str(page.relative_to(ROOT)): blocks(page) for page in pages()}
TYPED = [block for own in PAGES.values() for block in own if block.kind in ("shell", "python")]
SWEPT = re.compile(r"golang launch|python -m launch")  # what needs runs to look at


@pytest.mark.long
@pytest.mark.parametrize("page", [name for name, own in PAGES.items() if set(own) & set(TYPED)])
def test_a_page(page: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One after the other in one folder, as a reader has it."""
    own = [block for block in PAGES[page] if block in TYPED and block.text not in NOT_RUN]
    shell = request.getfixturevalue("swept" if any(SWEPT.search(block.text) for block in own) else "shell")
    if page == "README.md":
        shell = Shell(shutil.copytree(shell.folder, tmp_path / "readme", symlinks=True), shell.environ)
        (shell.folder / "ADDRESS").symlink_to(ROOT)
    failed = {}
    for block in own:
        done = shell.run(block)
        if done.returncode:
            failed[block.name] = f"status {done.returncode}\n{block.text}\n{done.stdout[-3000:]}"
    assert not failed, "\n\n".join(f"{name}: {said}" for name, said in failed.items())
    if page == "README.md":
        made(shell)


def made(shell: Shell) -> None:
    """What the README's blocks promise."""
    assert list((shell.folder / "golang/runs/demo").glob("*/DONE")), "the demo, in the clone"
    assert (shell.folder / "runs/photos/DONE").is_file()
    loaded = shell.run(Block("", 1, "python", LOADED))
    assert loaded.stdout.splitlines()[-1:] == ["['fc.weight', 'fc.bias'] []"], loaded.stdout


def test_every_block_is_known() -> None:
    """Nothing is passed over: a block is run, listed, or no command at all."""
    every = [block for own in PAGES.values() for block in own]
    assert {block.name: block.text for block in every if block.kind == "unclear"} == {}
    assert {block.name for block in every if block.language == "?"} == set(), "its fence names no language"
    listed = [block for block in TYPED if block.text in NOT_RUN]
    assert {block.text for block in listed} == set(NOT_RUN), "a block that is listed is gone"
    shown = [block for block in every if block.kind == "shown"]
    assert len(every) == len(TYPED) + len(shown) and len(TYPED) - len(listed) > 30


def test_nothing_to_type_is_left_open() -> None:
    """No alternatives, no optional parts and no dots: what is pasted is complete."""
    open_ends = re.compile(r"…|\b[A-Z]{2,}\|[A-Z]{2,}|\[[A-Z]{2,}\]|\[--|\w\|\w+\|\w")
    found = {block.name: block.text for block in TYPED if open_ends.search(block.text)}
    for page in pages():
        for typed in re.findall(r"`((?:golang|python|torchrun|make) [^`\n]+)`", outside(page.read_text())):
            if re.search(r"\b[A-Z]{2,}\|[A-Z]{2,}|\[[A-Z]{2,}\]|\[--", typed):
                found[f"{page.name}: {typed}"] = typed
    assert found == {}


def test_a_target_of_make_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in pages() for name in re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text(), re.M)}
    assert len(named) >= 8 and named - targets == set()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a\n\n    python run.py\n\nb\n", ["shell"]),
        ("a\n\n    FOO=1 golang train  # x\n    # y\n\n    make demo\n", ["shell"]),
        ("```bash\nls\n```\n\n~~~python\nimport golang\n~~~\n", ["shell", "python"]),
        ("a\n\n    from golang import train\n    train()\n", ["python"]),
        ("a\n\n    runs/x\n      DONE\n\n```text\npython run.py\n```\n", ["shown", "shown"]),
        ("a\n\n    reads\n    python run.py\n", ["unclear"]),
        ("- a\n\n    python run.py goes on with the item\n\nb\n\n    make demo\n", ["shell"]),
        ("1. a\n\n   ```bash\n   ls\n   ```\n", ["shell"]),
    ],
)
def test_a_page_is_read(text: str, kinds: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.blocks.ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    found = blocks(tmp_path / "page.md")
    assert [block.kind for block in found] == kinds
    lines = text.splitlines()
    assert all(lines[block.line - 1].strip() == block.text.splitlines()[0].strip() for block in found)


def test_a_blocks_error_is_the_pages(shell: Shell) -> None:
    """The shell stops at the first command that fails, and says so; a setting that is wrong is one."""
    block = Block("page.md", 1, "bash", "golang train optim.epoch=3\ntouch later\n")
    done = shell.run(block)
    assert done.returncode == 2 and "did you mean optim.epochs?" in done.stdout
    assert not (shell.folder / "later").exists()
