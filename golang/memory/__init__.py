"""What a rank of a training needs of a GPU's memory, asked without a GPU: `python -m golang.memory`."""
