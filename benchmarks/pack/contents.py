"""What a pack holds: checkpoints, exported networks, and a file that says what else."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.device.exporting import export_models
from benchmarks.device.sections import PRECISIONS
from benchmarks.environment import RUN_ON_GPU, commit, source_hash
from benchmarks.records import Record
from pcsr.atomic import atomic_file, writing
from pcsr.errors import OutputError, UsageError

Say = Callable[[str], object]
FACTS = "pack.json"
KEYS = {"inside"}
CHECKPOINTS, BUNDLES = "checkpoints", "bundles"
LONGEST_S = 3600.0  # of all exports


def copy_checkpoints(models: Sequence[str], source: Path, pack: Path) -> list[Path]:
    """Copies the checkpoints that runs look for, as far as `source` has them."""
    folder = pack / CHECKPOINTS
    names = [f"{model}-{kind}.pth" for model in models for kind in ("pcsr", "pcsr-random", "x4")]
    found = [source / name for name in names if (source / name).is_file()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in found:
            with atomic_file(folder / file.name, overwrite=True) as temporary:
                shutil.copyfile(file, temporary)
    return [folder / file.name for file in found]


def export_bundles(models: Sequence[str], pack: Path, say: Say) -> Mapping[str, list[Path]]:
    """Exports the networks of every model in all precisions of a run, or finds them exported. Gives
    the paths by model, those of random weights included.

    Raises:
        OutputError: a network cannot be exported, or not in all precisions.
    """
    cache = pack / BUNDLES
    exported = export_models(models, PRECISIONS, pack / CHECKPOINTS, cache, LONGEST_S, say)
    problems = [f"{model}: {text}" for model in models for text in exported[model]["problems"]]
    if problems:
        raise OutputError(f"{pack}: not every network could be exported: {'; '.join(problems)}")
    files = {model: map(Path, exported[model]["files"].values()) for model in models}
    return {model: [p for p in paths if cache in p.parents] for model, paths in files.items()}


def write_facts(pack: Path, paths: Sequence[Path], models: Sequence[str]) -> Record:
    """Writes what is in the pack, with sizes in bytes, and from which sources it is. What the pack
    held of these models before and does not hold now is deleted.
    """
    inside = {str(path.relative_to(pack)): size_of(path) for path in paths}
    before = read_facts(pack)["inside"] if (pack / FACTS).is_file() else {}
    for name in before.keys() - inside.keys():
        if Path(name).name.partition("-")[0] in models:
            _delete(pack, name)
        elif (pack / name).exists():
            inside[name] = before[name]
    facts: Record = {
        **commit(),
        "sources": source_hash(RUN_ON_GPU),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "inside": dict(sorted(inside.items())),
    }
    with atomic_file(pack / FACTS, overwrite=True) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def read_facts(pack: Path) -> Record:
    """Reads what `write_facts` wrote.

    Raises:
        UsageError: that is no pack.
    """
    try:
        facts: Record = json.loads((pack / FACTS).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not facts.keys() >= KEYS:
            raise ValueError("other contents")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{pack} is no pack: its {FACTS} cannot be read ({type(error).__name__}); `make "
            "gpu-pack` makes one"
        ) from error
    return facts


def tree_of(pack: Path) -> Record:
    """Gives `commit` and `dirty` of the tree that runs, as the pack knows them; nothing where git
    knows. Raises UsageError.
    """
    facts = read_facts(pack)
    if commit()["commit"] is not None:
        return {}
    changed = source_hash(RUN_ON_GPU) != facts["sources"]
    return {"commit": facts["commit"], "dirty": facts["dirty"] or changed}


def size_of(path: Path) -> int:
    """Gives the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _delete(pack: Path, name: str) -> None:
    path = (pack / name).resolve()
    if pack.resolve() not in path.parents:
        return
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
