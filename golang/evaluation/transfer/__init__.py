"""Fine-tuning on detection and segmentation: what a trunk is worth where things have to be found, not only named."""
