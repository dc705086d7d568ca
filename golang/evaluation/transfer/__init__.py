"""Fine-tuning on detection and segmentation, as an evaluation."""
