"""What is the same in every command: grouped help with examples, the version, how much is said."""

import difflib
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pcsr.version import __version__

Function = TypeVar("Function", bound=Callable[..., Any])
Option = Callable[[Any], Any]

GENERAL = "General"
SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 100,
}
_LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}
_SAID_ALWAYS = ("pcsr.tensorrt.build", "pcsr.calibration")
_VERBOSITY = "pcsr.verbosity"


class Command(click.Command):
    """A command whose help groups its options and ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **{"context_settings": SETTINGS} | kwargs)
        self.examples = tuple(examples)
        self.params += _general_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes a list of options per group, the general ones last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                own = GENERAL if "--help" in param.opts else "Options"
                groups.setdefault(getattr(param, "group", own), []).append(record)
        for title in sorted(groups, key=lambda title: title == GENERAL):
            with formatter.section(title):
                formatter.write_dl(groups[title])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples as they are typed, one a line."""
        write_examples(formatter, [f"{ctx.command_path} {example}" for example in self.examples])


class Group(click.Group):
    """A command of commands, which suggests the nearest one for a name that it does not know."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **{"context_settings": SETTINGS} | kwargs)
        self.params += _general_options()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that the first argument names.

        Raises:
            UsageError: there is none; it lists those that there are, or the nearest one.
        """
        name, known = args[0], self.list_commands(ctx)
        if name in known or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
        raise click.UsageError(f"No such command '{name}'. {hint}", ctx)


def command(*examples: str) -> Callable[[Function], Command]:
    """Decorates a function: a `Command` of its options. examples: arguments worth showing."""
    return click.command(cls=Command, examples=examples)


def option_group(title: str, *options: Option) -> Callable[[Function], Function]:
    """Decorates a command's function with options that its help lists under `title`."""

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            option(function)
            function.__click_params__[-1].group = title  # type: ignore[attr-defined]
        return function

    return decorate


def write_examples(formatter: click.HelpFormatter, lines: Sequence[str]) -> None:
    """Writes command lines without wrapping them."""
    if lines:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in lines))


def show_log(verbosity: int = 0) -> None:
    """Shows what the library logs, on stderr: errors at -1, warnings at 0, what was chosen at 1,
    everything at 2.

    What takes minutes (engines, calibrations) is said at 0, too.
    """
    log = logging.getLogger("pcsr")
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        log.addHandler(_Stderr())
    level = _LEVELS[max(-1, min(2, verbosity))]
    log.setLevel(level)
    for name in _SAID_ALWAYS:
        logging.getLogger(name).setLevel(level if verbosity < 0 else min(level, logging.INFO))


def is_quiet() -> bool:
    """Tells whether only errors and the results asked for are printed."""
    return not logging.getLogger("pcsr").isEnabledFor(logging.WARNING)


def say(text: str) -> None:
    """Prints a line about what goes on, on stderr; nothing with --quiet."""
    if not is_quiet():
        click.echo(text, err=True)


class _Stderr(logging.Handler):
    """Prints records on what stderr is when they come."""

    def emit(self, record: logging.LogRecord) -> None:
        words = {logging.WARNING: "warning: ", logging.ERROR: "error: "}
        click.echo(f"{words.get(record.levelno, '')}{record.getMessage()}", err=True)


def _general_options() -> list[click.Parameter]:
    def function() -> None: ...

    option_group(
        GENERAL,
        click.option(
            "-v",
            "--verbose",
            count=True,
            expose_value=False,
            is_eager=True,
            callback=_louder,
            help="Say what is chosen (-v), or everything (-vv).",
            show_default=False,
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_quieter,
            help="Print errors and the results asked for, nothing else.",
        ),
        click.version_option(__version__, message="pcsr %(version)s", help="Show the version."),
    )(function)
    params: list[click.Parameter] = function.__click_params__  # type: ignore[attr-defined]
    return params[::-1]


def _louder(ctx: click.Context, _param: click.Parameter, count: int) -> None:
    _change_verbosity(ctx, count)


def _quieter(ctx: click.Context, _param: click.Parameter, is_quieter: bool) -> None:
    _change_verbosity(ctx, -1 if is_quieter else 0)


def _change_verbosity(ctx: click.Context, change: int) -> None:
    ctx.meta[_VERBOSITY] = ctx.meta.get(_VERBOSITY, 0) + change
    show_log(ctx.meta[_VERBOSITY])
