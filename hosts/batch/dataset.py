"""The data set of a job: blocks of paths go to the workers, outcomes come back."""

import pickle
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pcsr.errors import BackendError
from pcsr.text import last_line

from .planning import Task
from .rows import Outcome
from .worker import Setup, Worker

if TYPE_CHECKING:
    import pyarrow

IN_FLIGHT = 2  # batches that a worker has or that wait for it


def outcomes(
    ray: Any,  # noqa: ANN401
    setup: Setup,
    parts: Sequence[Sequence[Task]],
    workers: int,
) -> Generator[Outcome]:
    """Runs the workers over the batches, and yields what became of each task, as it is known.

    Raises:
        BackendError: the cluster could not do it.
    """
    try:
        if type(setup.bundle[0]) is ray.ObjectRef:  # a client has another kind
            with closing(_run(ray, setup, parts, workers)) as run:
                yield from run
            return
        far = ray.remote(_Run).options(num_cpus=0).remote(setup, parts, workers)
        while (found := ray.get(far.take.remote())) is not None:
            yield from found
    except ray.exceptions.RayError as error:
        raise BackendError(
            f"the cluster could not do it: {last_line(error)}; every node needs this version of "
            "pcsr and Ray"
        ) from error


class _Run:
    """A data set that runs on the cluster, for a driver that is outside of it: through Ray's client
    (ray://) data sets do not run.
    """

    def __init__(self, setup: Setup, parts: Sequence[Sequence[Task]], workers: int) -> None:
        import ray
        import ray.data

        self._outcomes = _run(ray, setup, parts, workers)

    def take(self) -> list[Outcome] | None:
        """Gives what is known next; None at the end."""
        found = next(self._outcomes, None)
        return None if found is None else [found]


def _run(
    ray: Any,  # noqa: ANN401
    setup: Setup,
    parts: Sequence[Sequence[Task]],
    workers: int,
) -> Generator[Outcome]:
    ray.data.DataContext.get_current().enable_progress_bars = False
    strategy = ray.data.ActorPoolStrategy(
        min_size=1, max_size=workers, initial_size=workers, max_tasks_in_flight_per_actor=IN_FLIGHT
    )
    results = ray.data.from_arrow(_tables(parts)).map_batches(
        Worker,
        fn_constructor_args=(setup,),
        batch_size=None,
        batch_format="pyarrow",
        compute=strategy,
        num_cpus=setup.opening["threads"],
        num_gpus=None if setup.opening["device"] == "cpu" else 1,
    )
    # Left to the garbage collector, an unfinished iteration waits for a cluster that has
    # gone meanwhile.
    tables: Any = iter(results.iter_batches(batch_size=None, batch_format="pyarrow"))
    with closing(tables):
        for table in tables:
            yield from map(pickle.loads, table["outcome"].to_pylist())


def _tables(parts: Sequence[Sequence[Task]]) -> list["pyarrow.Table"]:
    """Makes a block of each batch, whose rows are paths: batches of a number of rows would be any
    number of bytes.
    """
    import pyarrow as pa

    texts, counts = ("source", "name", "target"), ("index", "place", "bytes", "attempts", "batch")
    columns = [(name, pa.string()) for name in texts] + [(name, pa.int64()) for name in counts]
    schema = pa.schema([*columns, ("replaces", pa.bool_())])
    return [
        pa.Table.from_pylist([asdict(task) | {"batch": number} for task in part], schema)
        for number, part in enumerate(parts)
    ]
