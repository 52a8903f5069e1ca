"""Results for which the shared memory has no room are refused, since a response cannot be sent
twice.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pcsr.tritonserver.model import passage
from pcsr.tritonserver.model.passage import SPARE_BYTES, Passage
from pcsr.tritonserver.model.refusals import BusyError
from tests.hosts.tritonserver.stand_in import load

IMAGE = np.zeros((30, 40, 3), np.uint8)
RESULT_BYTES = 16 * IMAGE.size


def test_a_result_without_room_is_refused_and_the_next_is_served(
    three_way_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [RESULT_BYTES + SPARE_BYTES - 1]
    pool = SimpleNamespace(free_memory=lambda: free[0])
    server = SimpleNamespace(shared_memory=pool)
    monkeypatch.setitem(sys.modules, "c_python_backend_utils", server)
    monkeypatch.setattr(passage, "_free_bytes", lambda _: 0)
    found = load(three_way_bundle, tmp_path / "m")
    code, text = found.refusal({"IMAGE": IMAGE}, "RESULT")
    assert code == "UNAVAILABLE"
    assert "shared memory has no room for a result of 0 MiB" in text
    free[0] += 1
    assert found.answer({"IMAGE": IMAGE}, "RESULT")["RESULT"].shape == (120, 160, 3)
    found.model.finalize()


def test_files_count_by_their_bytes_and_what_lies_on_a_gpu_does_not() -> None:
    room = Passage(lambda: SPARE_BYTES + 10)
    with room.taken([np.array([b"0123456789"], dtype=np.object_), object()]):
        pass
    with pytest.raises(BusyError), room.taken([np.array([b"0123456789a"], dtype=np.object_)]):
        pass


def test_the_folder_of_shared_memory_has_room() -> None:
    assert passage._free_bytes(passage.FOLDER) > SPARE_BYTES


def test_without_knowledge_nothing_is_refused() -> None:
    with Passage.of_server().taken([IMAGE]):
        pass
