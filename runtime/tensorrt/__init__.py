"""TensorRT engines of a bundle are built, kept in it and run here.

One source for TensorRT 10.16, TensorRT 11 and TensorRT-RTX. Importing this package imports neither
of them, nor torch.
"""
