"""A Ray cluster on this machine, for the tests of this folder; it lets tests kill its workers."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

HOOK = """
import os, sys

def kill(event, args):
    name = args[0] if event == "open" and isinstance(args[0], str) else ""
    if name.endswith("-kills.png") and "/in/" in name:
        marker = os.path.join(os.path.dirname(name), "once.txt")
        if "once-kills" not in name or not os.path.exists(marker):
            os.close(os.open(marker, os.O_CREAT | os.O_WRONLY))
            os.kill(os.getpid(), 9)

sys.addaudithook(kill)
"""
"""Kills a process that opens `in/X-kills.png`; `once-kills.png` kills but the first of them."""


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of two CPUs."""
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(HOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def workers() -> list[int]:
    """The process ids of the workers of this process's cluster that have images to upscale."""
    parents, names = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                names[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat[1])
    return [
        n for n, name in names.items() if name.startswith("ray::MapWorker") and _own(n, parents)
    ]


def _own(process: int, parents: dict[int, int]) -> bool:
    while process in parents and process != os.getpid():
        process = parents[process]
    return process == os.getpid()
