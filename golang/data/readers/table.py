"""The data sets by their names in `data.name`."""

from __future__ import annotations

from golang.data.readers.coco import Coco
from golang.data.readers.folder import Folder
from golang.data.readers.imagenet import ImageNet
from golang.data.readers.instances import Instances
from golang.data.readers.list import Lists
from golang.data.readers.reader import Reader
from golang.data.readers.toy import Toy
from golang.data.readers.voc import Augmented, Joined, Voc

READERS: dict[str, Reader] = {
    "coco2014": Coco(2014), "coco2017": Coco(2017), "voc2007": Voc(2007), "voc2012": Voc(2012),
    "voc0712": Joined(), "voc_sbd": Augmented(),
    "imagenet": ImageNet(), "toy": Toy(), "coco": Instances(), "list": Lists(), "folder": Folder(),
}  # fmt: skip
