"""Mutated bundles with right hashes: refused with a status and one line, or they upscale images;
AddressSanitizer watches. `PCSR_MUTANTS` is their number for each kind.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import checkpoints
from tests.exports import Exports
from tests.fuzz import bundles

from . import building
from .driver import ARGUMENT, BACKEND, BUNDLE, IMAGE, MEMORY, OK, Driver, Job
from .equality import random_image
from .graph_mutations import mutated_graph

MUTANTS = int(os.environ.get("PCSR_MUTANTS", "120"))
EXPECTED = {OK, ARGUMENT, BUNDLE, BACKEND, IMAGE, MEMORY}  # none of the library's own faults
SIZES = [(1, 1), (12, 17), (40, 3)]
Mutate = Callable[[Path, Path, random.Random], None]


def image_graph(original: Path, folder: Path, rng: random.Random) -> None:
    """A bundle whose graph of the image differs, in a field of it."""
    name = rng.choice(("carn", "fsrcnn", "mixed", "plain"))
    bundle = Path(shutil.copytree(original / "bundles" / name, folder / "bundle"))
    (file,) = (path for path in bundle.rglob("*.onnx") if path.stem in ("backbone", "network"))
    file.write_bytes(mutated_graph(file.read_bytes(), rng))
    bundles.repair_hashes(bundle)


KINDS: dict[str, Mutate] = {
    "manifest": bundles.manifest,
    "arrays": bundles.npz,
    "graphs": bundles.onnx_graph,
    "image graph": image_graph,
}


@pytest.fixture(scope="module")
def originals(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles as the mutations expect them."""
    folder = tmp_path_factory.mktemp("originals")
    networks = {
        "carn": checkpoints.tiny("carn"),
        "fsrcnn": checkpoints.tiny("fsrcnn", 3),
        "mixed": checkpoints.mixed(3),
        "plain": checkpoints.plain_checkpoint("fsrcnn"),
    }
    for name, network in networks.items():
        shutil.copytree(exports.of(network), folder / "bundles" / name)
    return folder


@pytest.fixture(scope="module")
def watched(
    onnxruntime_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    """The C program under AddressSanitizer."""
    env = {**os.environ, **building.SANITIZERS[building.MEMORY]}
    folder = tmp_path_factory.mktemp("mutants")
    program = building.program("driver", building.MEMORY)
    with Driver(program, onnxruntime_library, folder, env) as started:
        yield started


def use(driver: Driver, bundle: Path, rng: random.Random) -> int:
    """Opens a bundle and upscales an image; returns the status with which that ended."""
    answer, name = driver.try_open(bundle, threads=1, memory_bytes=2**24)
    if answer["status"] == "0":
        image = random_image(rng.choice(SIZES), rng.choice((1, 3, 4)), "float32")
        routed = {"routing": rng.choice((0, 1, 2)), "scale": rng.choice((0, 1, 2.5))}
        done = driver.together([Job(name, image, rng.choice((routed, {})))])[0]
        driver.ask("close", name=name)
        answer = done.answer
        if answer["status"] == "0":
            assert np.isfinite(done.image).all()
    status = int(answer["status"])
    if status:
        assert 10 < len(answer["message"]) < 1000
        assert "<control>" not in answer["message"]
    return status


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_end_in_a_status(
    kind: str, watched: Driver, originals: Path, tmp_path: Path
) -> None:
    ended: Counter[int] = Counter()
    for number in range(MUTANTS):
        rng = random.Random(f"{kind} {number}")
        folder = tmp_path / str(number)
        KINDS[kind](originals, folder, rng)
        status = use(watched, folder / "bundle", rng)
        assert status in EXPECTED, f"mutant {number}: {status}"
        ended[status] += 1
        shutil.rmtree(folder)
    assert 0 < ended[OK] < MUTANTS, ended
