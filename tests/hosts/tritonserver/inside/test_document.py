"""What docs/serving.md says: its commands, its client, its options of the server, its benchmark."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException

from examples.serving.kserve import ServerError, infer
from pcsr import Upscaler

from .client import pixels_of
from .serving import COMMAND, Serving, serving

ROOT = Path(__file__).resolve().parents[4]
DOCUMENT = (ROOT / "docs" / "serving.md").read_text()
RESTRICTED = "shared-memory,model-repository,trace,logging:key=SECRET"


@pytest.fixture(scope="module")
def folder(bundles: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle of the document, a photo, and the models that its command makes."""
    made = tmp_path_factory.mktemp("document")
    shutil.copytree(bundles["calibrated"], made / "carn-pcsr")
    Image.fromarray(pixels_of((40, 60))).save(made / "photo.png")
    (line,) = re.findall(r"^pcsr-serve (repository .*)$", DOCUMENT, re.MULTILINE)
    subprocess.run([COMMAND, *line.split()], cwd=made, check=True)
    (made / "models" / "broken").mkdir()
    (made / "models" / "broken" / "config.pbtxt").write_text('name: "broken" backend: "nothing"')
    return made


@pytest.fixture(scope="module")
def documented(folder: Path) -> Iterator[Serving]:
    """A server with the options that the document names, and a model that cannot be loaded."""
    assert f"`-- --http-restricted-api={RESTRICTED}`" in DOCUMENT
    assert "`-- --exit-on-error=false`" in DOCUMENT
    options = [f"--http-restricted-api={RESTRICTED}", f"--grpc-restricted-protocol={RESTRICTED}"]
    more = ["--", "--exit-on-error=false", "--strict-readiness=false", *options]
    with serving(folder / "models", folder / "log", more) as running:
        yield running


def test_the_client(documented: Serving, folder: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert "localhost:8000" in program
    program = program.replace("localhost:8000", f"localhost:{documented.http}")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = Upscaler(folder / "carn-pcsr")(pixels_of((40, 60)), 2.5)
    assert done.stdout == f"{result.stats.heavy_share:.1%} of the pixels are heavy\n"
    assert Image.open(folder / "upscaled.png").size == (150, 100)


def test_the_command_of_curl(documented: Serving) -> None:
    (path,) = re.findall(r"^curl localhost:8000(/\S+)$", DOCUMENT, re.MULTILINE)
    assert documented.get(path)[0] == 200


def test_the_client_in_the_standard_library(documented: Serving) -> None:
    address, image = f"127.0.0.1:{documented.http}", pixels_of((20, 30), "uint16")
    inputs = {"IMAGE_UINT16": image, "SCALE": 3, "OUTPUT_FORMAT": "png"}
    found = infer(address, "carn-pcsr", inputs, ["RESULT_UINT16", "RESULT_ENCODED"])
    assert found["RESULT_UINT16"].shape == (60, 90, 3)
    assert found["RESULT_ENCODED"].startswith(b"\x89PNG")
    with pytest.raises(ServerError, match=r"400: .*scale"):
        infer(address, "carn-pcsr", {"IMAGE_UINT16": image, "SCALE": -1}, ["RESULT_UINT16"])


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_restricted_calls(documented: Serving, kind: str) -> None:
    module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[kind]
    client = module.InferenceServerClient(f"127.0.0.1:{getattr(documented, kind)}")
    try:
        with pytest.raises(InferenceServerException, match="restricted"):
            client.get_system_shared_memory_status()
        with pytest.raises(InferenceServerException, match="restricted"):
            client.unload_model("carn-pcsr")
        key = {"http": "key", "grpc": "triton-grpc-protocol-key"}[kind]
        client.get_system_shared_memory_status(headers={key: "SECRET"})
        assert client.is_model_ready("carn-pcsr")
    finally:
        client.close()


def test_models_that_cannot_be_loaded_are_said(documented: Serving) -> None:
    lines = documented.log.read_text().splitlines()
    assert any(line.startswith("error: model broken is not served: ") for line in lines)
    assert any(line.startswith("serving carn-pcsr at http://127.0.0.1:") for line in lines)


def test_the_benchmark(folder: Path) -> None:
    options = ["--rounds=1", "--seconds=0.2", "--clients=2", "--option=--compute-concurrency=2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving", "carn-pcsr", "photo.png", *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ways = re.findall(r"^\| 2 +\| (.*?) +\|", done.stdout, re.MULTILINE)
    assert ways == ["Upscaler", "HTTP", "gRPC", "gRPC, shared memory"]
