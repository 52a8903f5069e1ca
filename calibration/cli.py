"""pcsr-calibrate: what a bundle's quality costs on the user's images. A command per question."""

from importlib import import_module

import click

_COMMANDS = {
    "operating-point": (".operating_point.cli", "operating_point"),
    "precision": (".precision.cli", "precision"),
}


class _Late(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module, __package__), name)
        return command


@click.group(cls=_Late, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Find out what a bundle's quality costs on your images, and keep the answer in it."""
