"""Kernels in CUDA C++, for what Triton cannot say: results between two convolutions stay on the
chip.
"""
