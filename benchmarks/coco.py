"""The COCO readers, of labels and of objects, on a file of COCO 2017's size, beside plain `json.loads`:
`python -m benchmarks.coco`.

Generates an annotation file of 118,287 images and 860,001 annotations with polygons (0.45 GB), reads it in processes of
their own, and prints seconds, those of the processor, peak memory, and one line of JSON last. The file is in the page
cache when it is read.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES, ANNOTATIONS, CLASSES = 118_287, 860_001, 80
POLYGONS = 4096  # different ones, used again and again
WAYS = ("labels", "objects")
CROWD = 100  # every so many annotations, a run-length encoded one


def generate(root: Path, images: int = IMAGES, annotations: int = ANNOTATIONS) -> Path:
    """Writes instances_train2017.json and three (empty) image files, which the reader looks for, below `root`."""
    rng = np.random.default_rng(0)
    folder, path = root / "train2017", root / "annotations" / "instances_train2017.json"
    folder.mkdir(parents=True)
    path.parent.mkdir()
    ids = rng.choice(600_000, images, replace=False)
    for identity in ids[:3]:
        (folder / f"{identity:012d}.jpg").touch()
    # Lengths as in COCO: most objects are drawn with few corners, some with hundreds; 310 bytes on average.
    shapes = [_polygon(rng, int(corners)) for corners in 4 + rng.gamma(0.9, 21, POLYGONS)]
    cuts = np.sort(rng.choice(480 * 640, 400, replace=False))
    crowd = json.dumps({"counts": np.diff(cuts, prepend=0, append=480 * 640).tolist(), "size": [480, 640]})
    owners, kinds = rng.integers(0, images, annotations), rng.integers(0, CLASSES, annotations)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        file.write(", ".join(_image(int(identity)) for identity in ids))
        file.write('], "annotations": [')
        for n, (owner, kind) in enumerate(zip(ids[owners].tolist(), kinds.tolist(), strict=True)):
            shape, is_crowd = (crowd, 1) if n % CROWD == 0 else (shapes[n % POLYGONS], 0)
            file.write(
                f'{", " if n else ""}{{"segmentation": {shape}, "area": 2765.1486500000005, "iscrowd": {is_crowd}, '
                f'"image_id": {owner}, "bbox": [199.84, 200.46, 77.71, 70.88], "category_id": {_gapped(kind)}, '
                f'"id": {n + 1}}}'
            )
        classes = [{"supercategory": "x", "id": _gapped(n), "name": f"class {n}"} for n in range(CLASSES)]
        file.write(f'], "categories": {json.dumps(classes)}}}')
    return path


def measure(root: Path, way: str) -> dict[str, float]:
    """Seconds and peak resident memory (MiB) of one way of reading, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.coco", "--root", str(root), "--read", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def read(root: Path, way: str) -> dict[str, float]:
    from golang.config import Data
    from golang.data.objects.sets import open_objects
    from golang.data.readers.coco import Coco

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, busy = time.perf_counter(), time.process_time()
    if way == "json":
        json.loads((root / "annotations" / "instances_train2017.json").read_bytes())
    elif way == "labels":
        images = Coco(2017).read(root, "train")
        assert images.labels is not None and images.labels.shape == (len(images), CLASSES)
    else:
        objects = open_objects(Data(name="coco2017", root=str(root)), "train")
        assert len(objects.boxes) == ANNOTATIONS and objects.shapes is not None
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"seconds": seconds, "processor": busy}
    return {name: round(value, 2) for name, value in found.items()} | {
        "peak_mib": round(peak / 1024), "before_mib": round(before / 1024)
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coco", description=__doc__)
    parser.add_argument("--root", type=Path, help="a generated set to use again")
    parser.add_argument("--read", choices=(*WAYS, "json"), help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help="without plain json.loads, which takes several GB")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.root, options.read)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder) / "coco"
        if not root.exists():
            generate(root)
        path = root / "annotations" / "instances_train2017.json"
        rows = {way: measure(root, way) for way in (WAYS if options.alone else (*WAYS, "json"))}
        print(f"{path.stat().st_size / 1e6:.0f} MB, {IMAGES:,} images, {ANNOTATIONS:,} annotations")
        for way, row in rows.items():
            took = f"{row['seconds']:6.1f} s, {row['processor']:6.1f} of the processor"
            print(f"  {way:7} {took}   peak {row['peak_mib']:6.0f} MiB")
        print(json.dumps({"bench": "coco", "bytes": path.stat().st_size, **rows}))


def _polygon(rng: np.random.Generator, corners: int) -> str:
    points = (rng.random(2 * corners) * 640).round(2).tolist()
    return json.dumps([points])


def _image(identity: int) -> str:
    return json.dumps(
        {
            "license": 3,
            "file_name": f"{identity:012d}.jpg",
            "coco_url": f"http://images.cocodataset.org/train2017/{identity:012d}.jpg",
            "height": 480,
            "width": 640,
            "date_captured": "2013-11-14 16:28:13",
            "flickr_url": f"http://farm8.staticflickr.com/7187/{identity}_8c0e5a2b1f_z.jpg",
            "id": identity,
        }
    )


def _gapped(position: int) -> int:
    return 1 + position + position // 8


if __name__ == "__main__":
    main()
