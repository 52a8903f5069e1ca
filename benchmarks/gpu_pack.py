"""make gpu-pack: what must travel to a GPU machine that has no network, in one folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from pcsr.cli import command_errors
from pcsr.errors import UsageError

from .bench import CHECKPOINTS, FOLDER, say
from .device.sections import MODELS
from .environment import ROOT
from .pack import contents, libraries, wheels

PACK = ROOT / "gpu-pack"
MIB = 2**20
MOST_MIB = 64  # of one transfer, the working tree included
TREE_MIB = 4
RUNS: Mapping[str, Sequence[str]] = {"gpu-first": ("carn", "fsrcnn"), "gpu-second": MODELS}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", "models", multiple=True, type=click.Choice(MODELS), help="May repeat.")
@click.option("--checkpoints", type=FOLDER, default=CHECKPOINTS)
@click.option("--output", type=FOLDER, default=PACK, help="Folder.")
@click.option("--tensorrt-rtx", "rtx", is_flag=True, help="With its libraries, in parts.")
@click.option("--python", default="3.12", show_default=True, help="Of the GPU machine.")
@command_errors
def main(models: Sequence[str], checkpoints: Path, output: Path, rtx: bool, python: str) -> None:
    """Gather checkpoints, exported networks and wheels in a folder for `benchmarks.gpu --pack`.

    Needs PyPI. Networks that the folder holds already are not exported again.
    """
    if checkpoints != CHECKPOINTS and not checkpoints.is_dir():
        raise UsageError(f"--checkpoints: {checkpoints} is no folder")
    models, pack = models or MODELS, output.resolve()
    by_model = {model: contents.copy_checkpoints([model], checkpoints, pack) for model in models}
    for model, bundles in contents.export_bundles(models, pack, say).items():
        by_model[model] += bundles
    common = wheels.download_wheels(pack)
    parts = libraries.pack_libraries(pack, python, say) if rtx else []
    networks = [path for paths in by_model.values() for path in paths]
    facts = contents.write_facts(pack, [*networks, *common, *parts], models)
    click.echo(_sizes(output, facts["inside"]))
    common += [pack / contents.FACTS]
    click.echo(_travellers(pack, {"": common} | by_model))
    inside = facts["inside"]
    click.echo(_commands(pack, sum(Path(name).parts[0] == libraries.FOLDER for name in inside)))


def _sizes(pack: Path, inside: Mapping[str, int]) -> str:
    sizes = Counter[str]()
    for name, size in inside.items():
        sizes[Path(name).parts[0]] += size
    total = _mib(sum(sizes.values()))
    lines = [f"  {_mib(size):>9}  {folder}" for folder, size in sizes.items()]
    return "\n".join([f"{pack}: {total}", *lines, ""])


def _travellers(pack: Path, paths: Mapping[str, Sequence[Path]]) -> str:
    """Says what each run needs: whole folders where all of it fits into one transfer. paths: by
    model; "" has what all need.
    """
    lines = [f"One transfer takes {MOST_MIB} MiB, about {TREE_MIB} of them for the working tree."]
    folders = [contents.CHECKPOINTS, contents.BUNDLES, wheels.FOLDER, contents.FACTS]
    whole = [pack / name for name in folders if (pack / name).exists()]
    if _fit(whole):
        return "\n".join([*lines, f"Every run needs {_listed(pack, whole)}.", ""])
    for run, models in RUNS.items():
        needed = [path for model in ("", *models) for path in paths.get(model, ())]
        size = _mib(sum(map(contents.size_of, needed)))
        verdict = "" if _fit(needed) else "; TOO LARGE for one transfer"
        lines.append(f"{run} needs {_listed(pack, needed)}: {size}{verdict}.")
    return "\n".join([*lines, ""])


def _fit(paths: Sequence[Path]) -> bool:
    return sum(map(contents.size_of, paths)) <= (MOST_MIB - TREE_MIB) * MIB


def _listed(pack: Path, paths: Sequence[Path]) -> str:
    return " ".join(f"{pack.name}/{path.relative_to(pack)}" for path in paths)


def _commands(pack: Path, parts: int) -> str:
    lines = [
        "There, in the working tree with this folder in it (without make: what `make -n` prints):",
        f"    make gpu-first PACK={pack.name} OUT=$OUT",
        f"    make gpu-second PACK={pack.name} OUT=$OUT",
    ]
    if parts:
        lines += [
            f"TensorRT-RTX takes part in gpu-second where its {parts} parts were unpacked:",
            f"    make gpu-unpack PACK={pack.name}",
            "They do not fit into one transfer with the rest. Bring one with each call, which is "
            "possible only while the same machine stays: a fresh one has none of them.",
        ]
    return "\n".join(lines)


def _mib(size: int) -> str:
    return f"{size / MIB:.1f} MiB"


if __name__ == "__main__":
    main()
