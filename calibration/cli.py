"""Runs pcsr-calibrate: a command per question about a bundle's quality and its cost."""

import click

from .operating_point.cli import operating_point
from .precision.cli import precision


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Find out what a bundle's quality costs on your images, and keep the answer in it."""


main.add_command(operating_point)
main.add_command(precision)
