"""Detectors and segmenters on our trunks, from torchvision's parts.

They are Mask R-CNN with a feature pyramid (protocol A), Faster R-CNN on stage 3 (B) and FCN (C) as the literature's
figures are measured. Where torchvision's own models differ, a part here says so and why. Their tensors' names are
torchvision's.
"""
