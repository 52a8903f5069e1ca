"""Runs pcsr-serve: bundles as models of NVIDIA Triton Inference Server."""

from pcsr.cli import Group

from .repository import repository

main = Group(
    commands=[repository],
    help="Serve bundles with NVIDIA Triton Inference Server (Python backend).",
)
