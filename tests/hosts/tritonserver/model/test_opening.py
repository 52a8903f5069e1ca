"""How a model opens its bundle, or says why it cannot."""

import logging
from pathlib import Path

import numpy as np
import pytest

from tests.hosts.tritonserver.stand_in import TritonModelException, arguments, load, utils

IMAGE = np.zeros((6, 8, 3), np.uint8)


def test_the_server_s_log_says_what_was_opened(three_way_bundle: Path, tmp_path: Path) -> None:
    found = load(three_way_bundle, tmp_path / "m", threads=2)
    (line,) = found.log.lines
    assert line[0] == "info"
    assert line[1].startswith(f"pcsr: opened {tmp_path}/m/1/bundle: ")
    assert ", threads 2, " in line[1]
    logging.getLogger("pcsr.gpu").warning("tiles of %d px", 64)
    logging.getLogger("pcsr.upscaler").debug("not said")
    assert found.log.lines[1:] == [("warn", "pcsr: tiles of 64 px")]
    found.model.finalize()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"precision": "fp16"}, r"cannot serve m: .* has no fp16 graphs .*"),
        ({"preset": "fast"}, "cannot serve m: .* has no operating point; .*"),
        ({"theads": "2"}, r"cannot serve m: unknown option 'theads' \(known: backend, .*"),
        ({"threads": "two"}, "cannot serve m: the parameter threads cannot be read, found 'two'"),
        ({"adaptive": "yes"}, "cannot serve m: the parameter adaptive cannot be read, found 'yes'"),
        ({"concurrency": "0"}, "cannot serve m: concurrency must be a whole number from 1 to .*"),
    ],
)
def test_a_model_that_cannot_open_says_why_in_one_line(
    parameters: dict[str, str], text: str, three_way_bundle: Path, tmp_path: Path
) -> None:
    found = load(three_way_bundle, tmp_path / "m")
    with pytest.raises(TritonModelException, match=text) as caught:
        found.model.initialize(arguments(tmp_path / "m", parameters))
    assert "\n" not in str(caught.value)


def test_a_model_without_its_bundle_says_so(three_way_bundle: Path, tmp_path: Path) -> None:
    found = load(three_way_bundle, tmp_path / "m")
    with pytest.raises(TritonModelException, match=r"there is no bundle in .*; write the model ag"):
        found.model.initialize(arguments(tmp_path / "elsewhere", {}))


def test_without_metrics_it_serves_and_says_so_once(three_way_bundle: Path, tmp_path: Path) -> None:
    found = load(three_way_bundle, tmp_path / "m", module=utils(refuses_metrics=True))
    assert "RESULT" in found.answer({"IMAGE": IMAGE})
    assert found.refusal({"IMAGE": IMAGE, "SCALE": 0.1})[0] == "INVALID_ARG"
    warnings = [text for kind, text in found.log.lines if kind == "warn"]
    assert warnings == ["pcsr: the server takes no metrics of its own (metrics are not there)"]
    found.model.finalize()
