"""Runs the convolutions of a bundle's graphs on the CPU with kernels of pcsr's own, in bf16."""

from .layers import Unsupported
from .runner import open_convolutions

__all__ = ["Unsupported", "open_convolutions"]
