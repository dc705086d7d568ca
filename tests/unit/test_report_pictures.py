"""report.md links the pictures that lie in its runs' folders."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from launch.report import page as report
from tests.unit.test_report import add_run


def test_pictures_of_evaluations_are_linked(tmp_path: Path) -> None:
    sweep = tmp_path / "runs/grid"
    _, run = (add_run(sweep, {"seed": seed}, score) for seed, score in ((1, 40.0), (2, 30.0)))
    assert "## Pictures" not in report.write(sweep)[0].read_text()
    folder = run.evaluation / "detect-toy-epochs=2 [x]"
    folder.mkdir()
    for name in ("detections-worst.png", "detections-best.png", "odd (1).png"):
        (folder / name).touch()
    (folder / "link.png").symlink_to("/etc/hostname")
    lines = report.write(sweep)[0].read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("- 2, detect"))
    assert lines.index("## Pictures") < lines.index(line) < lines.index("## Goodput") and "link.png" not in line
    assert "`" not in line and "\\[x\\]: [detections-best.png](" in line
    targets = [unquote(target) for target in re.findall(r"\]\(([^)]*)\)", line)]
    assert [(sweep / "report" / target).resolve() for target in targets] == [
        folder.resolve() / name for name in ("detections-best.png", "detections-worst.png", "odd (1).png")
    ]
