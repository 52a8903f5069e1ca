"""Runs pcsr-calibrate: a command per question about a bundle's quality and its cost."""

from pcsr.cli import Group

from .operating_point.cli import operating_point
from .precision.cli import precision

main = Group(
    commands=[operating_point, precision],
    help="Find out what a bundle's quality costs on your images, and keep the answer in it.",
)
