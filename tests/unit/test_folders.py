"""What is passed over in folders, several of them, `check` of one's own sets, and their fingerprints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from golang.config import Data, Part
from golang.data import sets
from golang.data.__main__ import main
from golang.data.images import ImageSet
from golang.data.readers.fingerprint import fingerprint
from golang.errors import DataError
from tests.unit.test_own_sets import FILES, coco, document, folder, names, save, write

__all__ = ["folder"]  # the fixture


def test_several_folders(tmp_path: Path) -> None:
    for name in ("a/x.png", "b/x.png", "b/deep/y.png", "c.png"):
        save(tmp_path / name)
    a, b = str(tmp_path / "a"), str(tmp_path / "b")

    def of(*folders: str) -> ImageSet:
        return sets.open_train(Data(name="folder", train=Part(images=folders)))

    assert names(of(b, a)) == ["b/deep/y.png", "b/x.png", "a/x.png"] and of(b, a).root == tmp_path
    assert names(of(b)) == ["deep/y.png", "x.png"] and of(b).root == tmp_path / "b"
    assert names(of(f"{b}/deep", b)) == ["deep/y.png", "x.png"], "each once"
    assert sets.check_words(Data(name="folder", train=Part(images=(a, "b c")))) == f"{a} 'b c' --set folder"
    with pytest.raises(DataError, match=r"data\.train\.images=.*gone does not exist"):
        of(a, str(tmp_path / "gone"))


def test_what_is_passed_over_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a.png")
    for name in ("b.txt", "c.TXT", "README", ".DS_Store", "._a.jpg", "d.gif", "e.HEIC.bak", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/up").symlink_to(tmp_path)
    images = sets.open_train(Data(name="folder", root=str(tmp_path)))
    assert names(images) == ["a.png"]
    assert images.passed_over == {".txt": 2, "without a suffix": 1, "hidden": 3, ".gif": 1, ".bak": 1}
    said = f"passed over, links to folders that are read already: {tmp_path}/sub/up"
    assert images.said == [said, "passed over: 1 .bak, 1 .gif, 2 .txt, 3 hidden, 1 without a suffix"]
    assert main(["check", str(tmp_path), "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert all(f"    {line}\n" in out for line in images.said)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"no image below data\.root=.*; passed over: 1 \.bak; .*3 hidden"):
        sets.open_train(Data(name="folder", root=str(tmp_path)))


def test_check_takes_lists_annotations_and_several_roots(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, more = str(folder / "images"), str(Path(save(folder / "more/d.png")).parent)
    (folder / "l.csv").write_text("image,labels,split\n" + "".join(f"images/{name},a|b,train\n" for name in FILES))
    (folder / "l.jsonl").write_text(f'{{"image": "images/{FILES[0]}"}}\n')
    apart = write(folder / "far/away/x.json", document(*FILES))

    def said(*arguments: str, status: int = 0) -> str:
        assert main(["check", *arguments, "--workers", "0"]) == status
        return capsys.readouterr().out

    assert "l.csv: a list of images (data=list)\n  train 3 images, 1 classes" in said(str(folder / "l.csv"))
    assert "3 images, 2 classes" in said(str(folder / "l.csv"), "--separator", "|")
    assert "1 images" in said(str(folder / "l.jsonl")) and "1 images" in said(str(folder / "l.jsonl"), "--set", "list")
    assert f"{images}, {more}: a folder of images (data=folder)\n  4 images" in said(images, more)
    assert "(data=list)\n  train 4 images, 1 classes" in said(str(folder / "l.csv"), more)
    marked = said(images, "--annotations", apart, status=1)
    assert "(data=coco)\n  train 3 images, 2 classes, 1 images without" in marked
    assert "annotation 9 (a.png): a polygon of its mask has 2 points" in marked
    assert "training does not look at them" in marked
    assert "(data=coco)" in said(apart, status=1), "its images are not beside it"
    assert "give one, or --set" in said(images, apart, status=2) and "wants the folder that holds the images" in said(
        status=2
    )
    (folder / "l.csv").write_text("image,labels\nimages/a.png\n")
    assert "cannot be read: " in said(str(folder / "l.csv"), status=1)
    (folder / "images/a.png").write_bytes(b"")
    out = said(images, status=1)
    assert "restore these files (deleting them makes it another set)" in out and "or delete" not in out


def test_a_fingerprint_is_of_names_sizes_and_labels(folder: Path) -> None:
    file = write(folder / "images/x.json", document(*FILES))
    data = coco(file)

    def of(data: Data) -> str:
        return fingerprint(sets.open_train(data))

    first = of(data)
    assert len(first) == 32 and int(first, 16) and of(data) == first
    moved = shutil.copytree(folder, folder.parent / f"{folder.name} moved")
    assert of(coco(str(moved / "images/x.json"))) == first, "wherever it lies"
    found = {first}
    edits = {
        "an order": lambda content: content["images"].reverse(),
        "a label": lambda content: content["annotations"].pop(),
        "a class": lambda content: content["categories"][0].update(name="lynx"),
        "a name": lambda content: content["images"][2].update(file_name="d.png"),
    }
    for edit in edits.values():
        content = document(*FILES)
        edit(content)
        write(folder / "images/x.json", content)
        found.add(of(data))
    write(folder / "images/x.json", document(*FILES))
    assert of(data) == first
    with (folder / "images/a.png").open("ab") as image:
        image.write(b"x")
    found.add(of(data))
    (folder / "images/a.png").unlink()
    found.add(of(data))
    assert len(found) == 7, "a size, and a file that is missing"
    loose = ImageSet.of(folder, ["ab", "c"]), ImageSet.of(folder, ["a", "bc"])
    assert fingerprint(loose[0]) != fingerprint(loose[1])
