"""What was found, kept while a set is scored, and the figures of it: COCO's, VOC 2007's, and mIoU."""
