"""The command pcsr-serve repository."""

from pathlib import Path
from typing import Any

import click

from pcsr.cli import (
    FILE,
    command,
    command_errors,
    option_group,
    overwrite_option,
    runtime_options,
)
from pcsr.text import parse_size
from pcsr.tritonserver.model.settings import Settings
from pcsr.tritonserver.repository import plan_models, write_models

DEFAULTS = Settings()


def _limit(option: str, text: str) -> Any:  # noqa: ANN401
    name = option.removeprefix("--").replace("-", "_")
    return click.option(option, type=int, default=getattr(DEFAULTS, name), help=text)


@command("carn-pcsr/ -o models/", "carn-pcsr/ fsrcnn-pcsr/ -o models/ --device cuda --adaptive")
@click.argument("bundles", nargs=-1, required=True, type=FILE)
@option_group(
    "Output",
    click.option("-o", "--output", required=True, type=FILE, help="Write into this repository."),
    click.option(
        "--name", metavar="NAME", help="Call the model so.  [default: as the bundle's folder]"
    ),
    overwrite_option,
)
@runtime_options
@option_group(
    "Routing of requests that name none",
    click.option("--k", type=float, help="Weigh cost by this."),
    click.option("--adaptive", is_flag=True, help="Route by adaptive decision making (ADM)."),
    click.option("--heavy-ratio", type=float, help="Take a share 0..1 of heavy pixels."),
    click.option("--preset", metavar="NAME", help="Take a calibrated preset."),
    click.option("--budget-ms", type=float, help="Keep within a calibrated time."),
    click.option(
        "--adaptive-budget",
        is_flag=True,
        default=None,
        help="Correct the budget's prediction by the requests before.",
    ),
    click.option("--max-psnr-loss-db", type=float, help="Lose no more than that in the mean."),
    click.option("--refine/--no-refine", default=None, help="Smooth light pixels."),
)
@option_group(
    "Requests",
    _limit("--concurrency", "Decode, compute and encode so many at once."),
    click.option(
        "--compute-concurrency",
        type=int,
        help="Compute so many of them at once.  [default: 1 on the CPU, 2 on a GPU]",
    ),
    _limit("--max-pending", "Refuse more requests than that at once."),
    _limit("--max-pending-mib", "Refuse requests whose images take more memory than that."),
    _limit("--max-input-pixels", "Refuse larger images."),
    _limit("--max-output-pixels", "Refuse requests for larger results."),
    _limit("--max-encoded-mib", "Refuse larger files."),
    click.option("--timeout-ms", type=float, help="End requests after this time."),
    click.option(
        "--warm-up",
        multiple=True,
        metavar="SIZE",
        help="Compute an image of WIDTHxHEIGHT before the model is ready; may repeat.",
    ),
)
@command_errors
def repository(
    bundles: tuple[Path, ...],
    output: Path,
    name: str | None,
    overwrite: bool,
    device: str,
    warm_up: tuple[str, ...],
    **options: Any,  # noqa: ANN401
) -> None:
    """Write a model for each of BUNDLES, with a copy of it, into a model repository."""
    settings = Settings.of_options({"warm_up": tuple(map(parse_size, warm_up)), **options})
    plans = plan_models(bundles, device, settings, name)
    for folder in write_models(plans, output, overwrite):
        click.echo(folder)
