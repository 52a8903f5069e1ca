"""What of a job is left to do: settings that have to be the same, and outputs that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pcsr.errors import OutputError, UsageError

from .planning import Outline, Task
from .storage.manifest import FOLDER, Manifest


@dataclass(frozen=True)
class Remaining:
    """What is left of the tasks of a job."""

    tasks: Sequence[Task]
    """To be done."""
    done: Sequence[Task]
    """Done by an earlier run, or skipped since their outputs are there."""
    refused: Mapping[Task, OutputError]
    """Not to be done, since something else has the name of their output."""


def check_settings(manifest: Manifest, settings: Mapping[str, Any], where: str) -> None:
    """Raises UsageError where results made with other settings are there."""
    before = manifest.settings() or settings
    changed = [n for n in {**settings, **before} if before.get(n) != settings.get(n)]
    if changed and manifest.read()["error"].null_count:
        name = changed[0]
        old, new = _shown(before.get(name)), _shown(settings.get(name))
        raise UsageError(
            f"{where} holds results of {name} {old}, found {new}; pass --overwrite to make all of "
            "them anew, or choose another folder"
        )


def remaining(
    outline: Outline, manifest: Manifest, overwrite: bool, skip_existing: bool
) -> Remaining:
    """Compares the tasks with the manifest and with the outputs that are there. With `overwrite`
    everything is left to do. An output whose size is not that of its row is to be made again.
    """
    if overwrite:
        return Remaining([replace(task, replaces=True) for task in outline.tasks], (), {})
    rows = {row["output"]: row for row in manifest.read().to_pylist()}
    there = {n: size for n, size in outline.target.files() if not n.startswith(f"{FOLDER}/")}
    own = manifest.planned()
    left, done, refused = list[Task](), list[Task](), dict[Task, OutputError]()
    for task in outline.tasks:
        row = rows.get(task.target)
        task = replace(task, attempts=row["attempts"] if row else 0)
        if task.target not in there:  # workers of a run that was killed just now may still write it
            left.append(replace(task, replaces=task.target in own))
        elif row and row["error"] is None and row["input"] == task.source:
            is_whole = skip_existing or row["bytes"] in (None, there[task.target])
            (done if is_whole else left).append(replace(task, replaces=not is_whole))
        elif row is None and task.target in own:  # written just before the run was killed
            left.append(replace(task, replaces=True))
        elif skip_existing:
            done.append(task)
        else:
            refused[task] = OutputError(
                f"{outline.plan.jobs[task.index].target} exists; pass --overwrite or "
                "--skip-existing, or choose another folder"
            )
    return Remaining(left, done, refused)


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
