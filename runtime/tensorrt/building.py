"""Building a set of engines: one after another, each looked into, and kept with a record."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pcsr.atomic import atomic_directory
from pcsr.bundle import Bundle
from pcsr.errors import BackendError, EngineError
from pcsr.version import __version__

from .build import build_plan
from .inspection import (
    count_precisions,
    inspect_engine,
    read_layers,
    refuse_other_precision,
    requested_precisions,
)
from .library import Library
from .plans import RECORD, PlanSet, Say, engines_folder
from .record import BuildRecord, Facts, PlanFile, format_plan
from .target import find_gpu

SAID_EVERY_S = 10.0


def build_set(
    library: Library,
    bundle: Bundle,
    facts: Facts,
    device: str,
    timing_cache: Path | None,
    say: Say,
) -> PlanSet:
    """Builds the engines that the facts describe, and writes them with their record into the
    bundle: all or none. What can be read of them on this machine is read and checked.

    Raises:
        EngineError: a graph cannot be built, or its engine computes in another precision.
        OutputError: the set cannot be written.
    """
    plans, files = {}, {}
    blind = _why_not_inspected(library, facts, device)
    for number, role in enumerate(facts.graphs, 1):
        onnx = bundle.graph_bytes(role, facts.precision)
        label = f"{number}/{len(facts.graphs)} {role}"
        say(f"{label} …")
        start = time.perf_counter()
        with said_while_it_takes(label, say):
            plan = build_plan(
                library, onnx, role, facts.profile, facts.options, facts.target, timing_cache
            )
        seconds = round(time.perf_counter() - start, 3)
        sha256 = hashlib.sha256(plan).hexdigest()
        file = PlanFile(f"{role}.engine", sha256, seconds, size_bytes=len(plan))
        plans[role] = plan
        files[role] = file if blind else _inspected(library, plan, role, onnx, facts, file, say)
        say(f"{label}: {format_plan(files[role])}")
    if blind:
        say(f"{facts.precision}: precision and memory of the engines were not read: {blind}")
    built = datetime.now(UTC).isoformat(timespec="microseconds")
    record = BuildRecord(facts, files, built, __version__)
    folder = engines_folder(bundle) / facts.key
    with atomic_directory(folder, overwrite=True) as temporary:
        for role, plan in plans.items():
            (temporary / files[role].file).write_bytes(plan)
        (temporary / RECORD).write_text(record.to_json(), encoding="utf-8")
    return PlanSet(folder, record, plans)


@contextmanager
def said_while_it_takes(label: str, say: Say) -> Iterator[None]:
    """Says every ten seconds for how long the body has been running."""
    ended, start = threading.Event(), time.perf_counter()

    def tick() -> None:
        while not ended.wait(SAID_EVERY_S):
            say(f"{label}, {time.perf_counter() - start:.0f} s")

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _why_not_inspected(library: Library, facts: Facts, device: str) -> str | None:
    """Says why engines cannot be loaded here to look into them; None where they can."""
    if not library.is_rtx:
        return None
    try:
        gpu = find_gpu(device)
    except BackendError as error:
        return str(error)
    misfit = facts.misfit(library, gpu, facts.precision)
    return f"the set {misfit}" if misfit else None


def _inspected(
    library: Library, plan: bytes, role: str, onnx: bytes, facts: Facts, file: PlanFile, say: Say
) -> PlanFile:
    """Completes what the record says of a plan by what its engine says, and refuses an engine that
    computes in another precision than its graph asks for.
    """
    engine, runtime = library.load(plan, role, facts.options.version_compatible)
    file = replace(file, device_memory_bytes=int(engine.device_memory_size_v2))
    try:
        text = inspect_engine(library, engine, facts.profile)
        layers = read_layers(text, requested_precisions(onnx))
    except EngineError as error:
        say(f"{role}: what the engine computes in was not read: {error}")
        return file
    finally:
        del engine, runtime  # in this order
    refuse_other_precision(role, layers)
    return replace(file, layer_precisions=count_precisions(layers))
