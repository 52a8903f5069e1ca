"""Runs image graphs on the CPU with convolutions of pcsr's own, in bf16 and int8."""

from .layers import Unsupported
from .runner import open_convolutions, read_convolutions

__all__ = ["Unsupported", "open_convolutions", "read_convolutions"]
