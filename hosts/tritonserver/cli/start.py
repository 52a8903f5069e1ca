"""The command pcsr-serve start."""

import sys
from pathlib import Path

import click

from pcsr.cli import command, command_errors, complain, is_quiet, option_group, say
from pcsr.errors import BackendError

PORT = click.IntRange(1, 65535)


@command("models/", "models/ --host 0.0.0.0 --http-port 9000", "models/ -- --log-verbose=1")
@click.argument("models")
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
@option_group(
    "Server",
    click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0: all."),
    click.option("--http-port", type=PORT, default=8000),
    click.option("--grpc-port", type=PORT, default=8001),
    click.option("--metrics-port", type=PORT, default=8002),
    click.option(
        "--exit-timeout-s",
        type=click.IntRange(0),
        default=30,
        help="How long a server that is asked to end waits for its requests.",
    ),
    click.option(
        "--server",
        type=click.Path(path_type=Path),
        help="The program tritonserver. [default: on PATH, of the container, of nvidia-pytriton]",
    ),
)
@command_errors
def start(
    models: str,
    more: tuple[str, ...],
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    exit_timeout_s: int,
    server: Path | None,
) -> None:
    """Run Triton Inference Server with the model repository MODELS, until Ctrl-C or SIGTERM.

    What follows -- goes to tritonserver as it is.
    """
    from pcsr.tritonserver.log import Log
    from pcsr.tritonserver.server import find_server
    from pcsr.tritonserver.start import Endpoints, arguments, check_repository, run

    check_repository(models)
    endpoints = Endpoints(host, http_port, grpc_port, metrics_port)
    endpoints.check()
    found = find_server(server)
    quiet = ["--log-info=false"] if is_quiet() else []
    command_line = arguments(found, models, endpoints, exit_timeout_s, [*quiet, *more])

    def ready(log: Log) -> None:
        for name, why in log.failed.items():
            complain(BackendError(f"model {name} is not served: {why}"))
        say(
            f"serving {', '.join(log.loaded)} at http://{host}:{http_port} (gRPC {grpc_port}, "
            f"metrics {metrics_port}); Ctrl-C ends it"
        )

    log = Log(ready)
    code = run(found, command_line, log)
    if why := log.why(code):
        complain(BackendError(why))
    sys.exit(1 if log.dead else code)
