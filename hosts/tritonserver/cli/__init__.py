"""Runs pcsr-serve: bundles as models of NVIDIA Triton Inference Server."""

from pcsr.cli import Group

from .repository import repository
from .start import start

main = Group(
    commands=[repository, start],
    help="Serve bundles with NVIDIA Triton Inference Server (Python backend).",
)
