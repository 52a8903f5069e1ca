"""Holds the Triton kernels that PyTorch's convolutions do not offer."""
