"""TensorRT engines of a bundle: building, keeping and running them.

One source for TensorRT 10.16, TensorRT 11 and TensorRT-RTX. Importing this package imports neither
of them, nor torch.
"""
