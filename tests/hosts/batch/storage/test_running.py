"""One job works on a folder of results; what a killed one leaves there keeps nobody out."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow import fs

from pcsr.batch.storage import places
from pcsr.batch.storage import running as module
from pcsr.batch.storage.places import Place
from pcsr.batch.storage.running import FILE, running
from pcsr.errors import OutputError, UsageError

REFUSED = r"another job works on .*top, begun at .* UTC on .* \(process \d+\); wait for it, or "
HOLD = """
import sys, time
from pcsr.batch.storage.places import Place
from pcsr.batch.storage.running import running
with running(Place.of(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["local", "without locks", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "remote":
        system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
        monkeypatch.setattr(places, "_opened", lambda uri: (system, "top"))
        return Place.of("subtree://top")
    if request.param == "without locks":
        monkeypatch.setattr(module, "try_lock", lambda descriptor: None)
    return Place.of(str(tmp_path / "top"))


def test_one_job_at_a_time(place: Place, tmp_path: Path) -> None:
    for _ in range(2):
        with running(place):
            with pytest.raises(UsageError, match=REFUSED + "remove .*top/_pcsr/running if it is"):
                running(place).__enter__()
            assert place.read(FILE)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_job_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), running(Place.of(str(tmp_path / "a/b"))):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, expected a folder"):
        running(Place.of(str(tmp_path / "file"))).__enter__()


def test_a_killed_job_keeps_nobody_out(place: Place) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    for number, started in ((gone.pid, "7"), (os.getpid(), "an earlier one of this number")):
        note = {"host": socket.gethostname(), "pid": number, "started": started, "begun": "x UTC"}
        place.write(FILE, json.dumps(note).encode())
        with running(place):
            assert json.loads(place.read(FILE))["pid"] == os.getpid()


def test_a_killed_process(tmp_path: Path) -> None:
    place = Place.of(str(tmp_path / "top"))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, place.uri], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "holds\n"
        with pytest.raises(UsageError, match=REFUSED):
            running(place).__enter__()
    finally:
        process.kill()
        process.communicate()
    assert place.read(FILE)
    with running(place):
        pass


@pytest.mark.parametrize("place", ["without locks", "remote"], indirect=True)
def test_a_job_of_another_host_is_waited_for(place: Place) -> None:
    note = {"host": "elsewhere", "pid": 1, "started": "7", "begun": "1970-01-01 00:00:00 UTC"}
    place.write(FILE, json.dumps(note).encode())
    with pytest.raises(UsageError, match="begun at 1970-01-01 00:00:00 UTC on elsewhere"):
        running(place).__enter__()
    assert json.loads(place.read(FILE)) == note
