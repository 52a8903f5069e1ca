"""Nothing of ours talks to the network or writes into the home folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.runtime.cpu.bf16 import has_openvino, passed

PROGRAMS = {
    "Upscaler": "from pcsr import Upscaler; import numpy as np; "
    "Upscaler({bundle!r})(np.zeros((5, 6, 3), np.uint8))",
    "pcsr-upscale": "from pcsr.runtime.files.cli import main; "
    "main([{bundle!r}, {image!r}, {output!r}])",
    "pcsr-doctor": "from pcsr.runtime.doctor.cli import main; main([])",
    "pcsr-evaluate": "from pcsr.calibration.evaluation.cli import main; "
    "main([{bundle!r}, {image!r}])",
    "pcsr-export": "from pcsr.export.cli import main; "
    "main(['--ckpt', {checkpoint!r}, '-o', {exported!r}])",
    "host": "import pcsr, onnxruntime; onnxruntime.InferenceSession({graph!r})",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_address_is_opened_and_home_stays_empty(
    name: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    home, calls, image = tmp_path / "home", tmp_path / "calls", tmp_path / "in.png"
    home.mkdir()
    Image.new("RGB", (32, 24)).save(image)
    files = {"bundle": carn_like_bundle, "image": image, "output": tmp_path / "out.png"}
    files["checkpoint"] = carn_like_bundle.parent / "network.pth"
    files["exported"] = tmp_path / "exported"
    files["graph"] = next(carn_like_bundle.rglob("*.onnx"))
    code = PROGRAMS[name].format(**{key: str(file) for key, file in files.items()})
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=network", "-o", calls, sys.executable, "-c", code],
        env={key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
        | {"HOME": str(home), "XDG_CACHE_HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "mpl")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr  # pcsr-doctor misses GPUs
    assert "AF_INET" not in calls.read_text()
    assert list(home.rglob("*")) == []


@has_openvino
def test_bf16_opens_no_address_and_remembers_in_one_file(
    carn_like_bundle: Path, tmp_path: Path
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    home, calls = tmp_path / "home", tmp_path / "calls"
    home.mkdir()
    bundle = passed(carn_like_bundle, tmp_path)
    code = (
        "from pcsr import Upscaler; from pcsr.runtime.cpu.candidates import trial; "
        "trial.waited_s = lambda: 0.0; "  # as if the machine had nothing else to do
        f"Upscaler({str(bundle)!r}, precision='bf16')"
    )
    subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=network", "-o", calls, sys.executable, "-c", code],
        env={key: value for key, value in os.environ.items() if key != "XDG_CACHE_HOME"}
        | {"HOME": str(home)},
        check=True,
    )
    assert "AF_INET" not in calls.read_text()
    files = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
    assert files == [Path(".cache/pcsr/cpu-choices.json")]


def test_telemetry_ends_where_the_host_imported_onnxruntime_first(
    carn_like_bundle: Path, tmp_path: Path
) -> None:
    """It has written its device id by then; from here on it is told to report nothing."""
    code = (
        "import onnxruntime, sys; off = []; "
        "onnxruntime.disable_telemetry_events = lambda: off.append(True); "
        "from pcsr import Upscaler; Upscaler(sys.argv[1]); print(off)"
    )
    for said, expected in ((None, "[True]"), ("1", "[True]"), ("0", "[]")):
        env = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
        env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
        env |= {} if said is None else {"ORT_DISABLE_TELEMETRY": said}
        command = [sys.executable, "-c", code, str(carn_like_bundle)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
