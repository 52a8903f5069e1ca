"""A job: a folder of images is upscaled by the workers of a cluster, and a run after it does what
is left.
"""

import secrets
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from pcsr.atomic import remove_leftovers
from pcsr.atomic.temporaries import SETTLED_S
from pcsr.errors import UsageError
from pcsr.runtime.files.batch import UpscaleOptions
from pcsr.runtime.files.done import Done
from pcsr.runtime.files.jobs import Plan
from pcsr.runtime.upscaler import Upscaler
from pcsr.single_file import open_bundle

from .cluster import connected, workers_of
from .dataset import outcomes
from .large import upscale_large
from .ledger import Ledger
from .packed import bundle_sha256, packed
from .planning import Outline, Task, batches
from .remaining import Remaining, check_settings, remaining
from .rows import Outcome, row_of
from .storage.manifest import Manifest
from .storage.running import running
from .worker import Setup


@dataclass(frozen=True)
class Engine:
    """Where a job runs."""

    address: str | None = None
    """As `cluster.connected` takes it."""
    workers: int | None = None
    """None takes as many as the cluster has room for."""
    stops: bool = False
    """Whether the first error ends the job."""

    @classmethod
    def named(cls, name: str | None, workers: int | None = None, stops: bool = False) -> "Engine":
        """Makes one of `ray` or `ray=ADDRESS`.

        Raises:
            UsageError: it has another name, or none.
        """
        if name is None:
            raise UsageError("--workers and --on-error go with --engine; add --engine ray")
        kind, equals, address = name.partition("=")
        if kind != "ray" or (equals and not address):
            raise UsageError(f"expected --engine ray or --engine ray=ADDRESS, found {name}")
        return cls(address or None, workers, stops)


@dataclass(frozen=True)
class BatchJob:
    """What is to be upscaled, how, and where."""

    bundle: Path
    outline: Outline
    options: UpscaleOptions
    opening: Mapping[str, Any]
    """Arguments of `Upscaler` besides the bundle; its device is `cpu` or `cuda`."""
    engine: Engine

    @property
    def plan(self) -> Plan:
        """Which input becomes which output."""
        return self.outline.plan

    def check(self) -> None:
        """Raises, before anything is started, what can be known to be wrong: as `Upscaler` does.

        A GPU's options are checked where there is one, by the workers.
        """
        options, opening = self.options, self.opening
        if opening["device"] == "cpu":
            with Upscaler(self.bundle, **opening) as upscaler:
                upscaler.completed(options.scale, options.request)

    def run(self) -> Generator[Done]:
        """Does what is left, and yields what became of each input, as it is known.

        Raises:
            UsageError: an option is out of range, the results that are there have other settings,
                or another job works on them.
            BundleError: there is no such bundle.
            BackendError: Ray or the cluster is not there.
            PcsrError: the first error, where the engine `stops` at it.
        """
        self.check()
        with running(self.outline.target):
            yield from self._run()

    def _run(self) -> Generator[Done]:
        manifest, options = Manifest(self.outline.target), self.options
        settings = self._settings()
        if not options.overwrite:
            check_settings(manifest, settings, self.outline.target.shown())
        left = remaining(self.outline, manifest, options.overwrite, options.skip_existing)
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        if left.tasks:
            with _tidy(self.outline, left.tasks), connected(self.engine.address) as ray:
                workers = self._workers(ray)
                self._begin(manifest, settings, left, run)
                yield from self._known(left)
                with closing(self._computed(ray, left.tasks, run, workers)) as computed:
                    yield from computed
        else:
            self._begin(manifest, settings, left, run)
            yield from self._known(left)
        manifest.compact()

    def _settings(self) -> dict[str, Any]:
        """What results depend on, in words for people."""
        bundle, options, opening = open_bundle(self.bundle), self.options, self.opening
        scale = options.scale or bundle.manifest.trained_scale
        routing = {k: v for k, v in asdict(options.request).items() if v not in (None, False)}
        return {
            "bundle_sha256": bundle_sha256(self.bundle),
            "scale": float(scale),
            "routing": routing or None,
            "format": self.outline.suffix,
            "quality": options.quality,
            "precision": opening["precision"],
            "backend": opening["backend"],
            "device": opening["device"],
        }

    def _begin(
        self, manifest: Manifest, settings: Mapping[str, Any], left: Remaining, run: str
    ) -> None:
        """Writes what a later run has to know, if this one is killed."""
        if self.options.overwrite:
            manifest.clear()
        manifest.write_settings(settings)
        if left.tasks:
            manifest.plan(run, [task.target for task in left.tasks])
        rows = [
            row_of(task, Outcome(task.index, None, error), None, task.attempts + 1)
            for task, error in left.refused.items()
        ]
        if rows:
            manifest.add(f"{run}-refused", rows)

    def _known(self, left: Remaining) -> Iterator[Done]:
        for task in left.done:
            yield Done(self.plan.jobs[task.index], None, None)
        for task, error in left.refused.items():
            yield self._done(Outcome(task.index, None, error))

    def _computed(
        self,
        ray: Any,  # noqa: ANN401
        tasks: Sequence[Task],
        run: str,
        workers: tuple[int, int],
    ) -> Generator[Done]:
        count, threads = workers
        opening = {**self.opening, "threads": threads}
        parts = list(batches(tasks, count))
        node = ray.get_runtime_context().get_node_id()
        near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=True)
        ledger = ray.remote(Ledger).options(num_cpus=0, max_restarts=-1, scheduling_strategy=near)
        setup = Setup(
            [ray.put(packed(self.bundle))],
            opening,
            replace(self.options, leaves_large=count > 1 and opening["device"] == "cpu"),
            self.outline.places,
            self.outline.target,
            run,
            ledger.remote(),
            self.engine.stops,
        )
        large: list[Task] = []
        by_index = {task.index: task for task in tasks}
        with closing(outcomes(ray, setup, parts, min(count, len(parts)))) as first:
            for outcome in chain(first, upscale_large(ray, setup, large, count)):
                if outcome.is_left:
                    large.append(by_index[outcome.index])
                    continue
                if outcome.error and (outcome.index < 0 or self.engine.stops):
                    raise outcome.error
                yield self._done(outcome)

    def _workers(self, ray: Any) -> tuple[int, int]:  # noqa: ANN401
        """Gives the number of workers, and the threads of each."""
        device, threads = self.opening["device"], self.opening["threads"]
        if self.engine.workers and device != "cpu":
            return self.engine.workers, threads or 1
        count, cores = workers_of(ray, device, threads)
        return self.engine.workers or count, cores

    def _done(self, outcome: Outcome) -> Done:
        job, error = self.plan.jobs[outcome.index], outcome.error
        if error:
            source = self.outline.tasks[outcome.index].source
            error = type(error)(str(error).replace(source, str(job.source)))
        return Done(job, outcome.stats, error, outcome.warnings)


def refuse_unfit(opening: Mapping[str, Any], options: UpscaleOptions, overlay: str | None) -> None:
    """Raises UsageError for what only one process does."""
    if overlay:
        raise UsageError("--overlay does not go with --engine; draw it of single images")
    if options.codec is not None or options.crf is not None:
        raise UsageError("--codec and --crf are for videos, which do not go with --engine")
    if options.reuse is not None or options.reuse_within is not None:
        raise UsageError("--reuse and --reuse-within are for videos, which do not go with --engine")
    if options.request.adaptive_budget:
        raise UsageError("--adaptive-budget does not go with --engine: workers see other images")
    if opening["device"] not in ("cpu", "cuda"):
        raise UsageError(
            f"expected --device cpu or cuda with --engine, found {opening['device']}: every GPU of "
            "the cluster gets a worker"
        )


@contextmanager
def _tidy(outline: Outline, tasks: Sequence[Task]) -> Iterator[None]:
    """Removes what workers that were killed in the middle left behind, where the job ends early."""
    try:
        yield
    except BaseException:
        folders = {Path(tempfile.gettempdir())}
        if outline.target.local:
            folders |= {(outline.target.local / task.target).parent for task in tasks}
        time.sleep(SETTLED_S + 0.5)
        for folder in folders:
            with suppress(OSError):
                remove_leftovers(folder)
        raise
