"""What the commands share."""

import logging
import shlex
import subprocess
import sys
from importlib import import_module

import pytest
from click.testing import CliRunner, Result

import pcsr.__main__ as umbrella
from pcsr import UsageError, __version__
from pcsr.__main__ import main
from pcsr.text import parse_size, size_text


@pytest.mark.parametrize(
    "text",
    ["", "x", "8", "8x", "x8", "8x8x8", "0x8", "-1x8", "8 x8", "²x8", "8x1000000000"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=f"^unknown size '{text}'; expected WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes_are_typed_as_width_and_height() -> None:
    assert parse_size("960X540") == parse_size("960x540") == (540, 960)
    assert size_text(parse_size("960x540")) == "960x540"


COMMANDS = {
    "export": "pcsr.export.cli",
    "upscale": "pcsr.runtime.files.cli",
    "evaluate": "pcsr.calibration.evaluation.cli",
    "profile": "pcsr.runtime.profiler.cli",
    "build": "pcsr.runtime.tensorrt.cli",
    "train": "pcsr.training.cli",
    "doctor": "pcsr.runtime.doctor.cli",
    "inspect": "pcsr.export.inspection.cli",
}
every_command = pytest.mark.parametrize("module", COMMANDS.values(), ids=COMMANDS)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, prog_name="pcsr")


@every_command
def test_examples_are_commands_that_parse(module: str) -> None:
    command = import_module(module).main
    assert command.examples
    for example in command.examples:
        command.make_context("x", shlex.split(example))


@every_command
def test_every_command_has_the_general_options(module: str) -> None:
    flags = {flag for param in import_module(module).main.params for flag in param.opts}
    assert {"--verbose", "--quiet", "--version", "-v", "-q"} <= flags


def test_the_umbrella_knows_every_command() -> None:
    scripts = {**umbrella.COMMANDS}
    assert {name: module for name, (module, _) in scripts.items()} == COMMANDS | {
        "calibrate": "pcsr.calibration.cli",
        "serve": "pcsr.tritonserver.cli",
    }
    for name in scripts:
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert shown.stdout.startswith(f"Usage: pcsr {name} ")


def test_a_typo_names_the_near_command() -> None:
    ended = run("upscal")
    assert ended.exit_code == 2
    assert "No such command 'upscal'. Did you mean 'upscale'?" in ended.stderr
    assert "There are: export, upscale" in run("zzz").stderr
    assert "Did you mean 'precision'?" in run("calibrate", "precison").stderr


def test_the_help_of_the_umbrella_imports_nothing_heavy() -> None:
    code = "import sys; from pcsr.__main__ import main; main(['--help'], standalone_mode=False); "
    code += "print({'torch', 'onnxruntime', 'numpy', 'pyvips'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_the_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pcsr", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"pcsr {__version__}\n"


@pytest.mark.parametrize(
    ("words", "level"),
    [((), "WARNING"), (("-q",), "ERROR"), (("-v",), "INFO"), (("-vv",), "DEBUG")],
)
def test_verbosity_is_the_level_of_the_log(words: tuple[str, ...], level: str) -> None:
    run("doctor", *words, "nowhere/")
    assert logging.getLevelName(logging.getLogger("pcsr").level) == level
    run("doctor", "nowhere/")
    assert logging.getLogger("pcsr").level == logging.WARNING
