"""Counts what kernels take on GPUs, from their compiled form: no GPU is needed."""
