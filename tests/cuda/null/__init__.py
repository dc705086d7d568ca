"""A CUDA driver without a device: torch's CUDA build runs on it as on a GPU whose kernels compute nothing, and every
launch, copy, wait and collective is counted. Times are the host's alone; what a kernel would have written isn't there.
"""
