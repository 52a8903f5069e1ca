"""What pcsr-serve repository writes, and what it refuses."""

import filecmp
import re
import shutil
from pathlib import Path

import pytest

from pcsr.tritonserver.cli import main
from pcsr.tritonserver.model.settings import Settings
from pcsr.tritonserver.pbtxt import config_text
from tests.commands import Ended, run
from tests.runtime.routing.calibrations import calibrated


def repository(*args: object) -> Ended:
    return run(main, ("repository", *args))


def config(model: Path) -> str:
    return (model / "config.pbtxt").read_text()


def parameters(text: str) -> dict[str, str]:
    return dict(re.findall(r'key: "(\w+)", value: \{ string_value: "([^"]*)" \}', text))


def test_a_model_holds_a_copy_of_its_bundle(three_way_bundle: Path, tmp_path: Path) -> None:
    done = repository(three_way_bundle, "-o", tmp_path / "models", "--name", "three")
    model = tmp_path / "models" / "three"
    assert (done.code, done.stdout, done.stderr) == (0, f"{model}\n", "")
    files = sorted(path.relative_to(model).as_posix() for path in model.rglob("*"))
    originals = [path for path in three_way_bundle.rglob("*") if path.is_file()]
    copied = {f"1/bundle/{path.relative_to(three_way_bundle)}" for path in originals}
    assert {"config.pbtxt", "1/model.py"} | copied <= set(files)
    for path in originals:
        copy = model / "1" / "bundle" / path.relative_to(three_way_bundle)
        assert filecmp.cmp(path, copy, shallow=False)
        assert not copy.is_symlink()
    assert Settings.read(parameters(config(model))) == Settings()
    compile((model / "1" / "model.py").read_text(), "model.py", "exec")


def test_options_are_parameters(three_way_bundle: Path, plain_bundle: Path, tmp_path: Path) -> None:
    given = "--threads 2 --concurrency 3 --compute-concurrency 2 --max-pending 7 --timeout-ms 2500"
    more = "--warm-up 40x30 --warm-up 64x48 --heavy-ratio 0.3 --no-refine --max-input-pixels 4000"
    options = [*given.split(), *more.split(), "--max-output-pixels", 90000, "--max-encoded-mib", 2]
    done = repository(three_way_bundle, "-o", tmp_path, "--name", "m", *options)
    assert done.code == 0, done.stderr
    assert Settings.read(parameters(config(tmp_path / "m"))) == Settings(
        threads=2,
        concurrency=3,
        compute_concurrency=2,
        max_pending=7,
        timeout_ms=2500,
        warm_up=((30, 40), (48, 64)),
        max_input_pixels=4000,
        max_output_pixels=90000,
        max_encoded_mib=2,
        routing={"heavy_ratio": 0.3, "refine": False},
    )


@pytest.mark.parametrize(
    ("device", "group", "stays"),
    [
        ("cpu", "{ kind: KIND_CPU, count: 1 }", False),
        ("cuda", "{ kind: KIND_GPU, count: 1 }", True),
        ("cuda:2", "{ kind: KIND_GPU, count: 1, gpus: [2] }", True),
    ],
)
def test_there_is_one_instance_on_each_device(device: str, group: str, stays: bool) -> None:
    text = config_text("m", device, {})
    assert f"instance_group [{group}]" in text
    assert ("FORCE_CPU_ONLY_INPUT_TENSORS" in text) == stays


def test_a_gpu_s_model_is_written_where_none_is(three_way_bundle: Path, tmp_path: Path) -> None:
    done = repository(three_way_bundle, "-o", tmp_path, "--name", "m", "--device", "cuda")
    assert done.code == 0, done.stderr
    assert "KIND_GPU" in config(tmp_path / "m")


def test_existing_models_stay(three_way_bundle: Path, plain_bundle: Path, tmp_path: Path) -> None:
    assert repository(three_way_bundle, "-o", tmp_path, "--name", "m").code == 0
    before = config(tmp_path / "m")
    done = repository(plain_bundle, "-o", tmp_path, "--name", "m", "--threads", 1)
    assert done.code == 1
    assert "exists; pass --overwrite" in done.stderr
    assert config(tmp_path / "m") == before
    assert repository(plain_bundle, "-o", tmp_path, "--name", "m", "--overwrite").code == 0
    assert (tmp_path / "m" / "1" / "bundle" / "fp32" / "network.onnx").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    done = repository(plain_bundle, "-o", tmp_path, "--name", "photos", "--overwrite")
    assert done.code == 1
    assert "is no model (no config.pbtxt)" in done.stderr
    assert (tmp_path / "photos" / "a.png").exists()


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--name", "../m"], 2, "expected a model's name of letters, digits and _ . -"),
        (["--name", ""], 2, "expected a model's name of letters"),
        (["--heavy-ratio", "2"], 2, r"heavy_ratio must lie in \[0, 1\], found 2.0"),
        (["--k", "1", "--adaptive"], 2, "k is not used with adaptive"),
        (["--preset", "fast"], 2, "no operating point"),
        (["--preset", "fast", "--device", "cuda"], 2, "no operating point"),
        (["--device", "gpu"], 2, "unknown device 'gpu'; expected cpu, cuda or cuda:N"),
        (["--device", "cuda", "--backend", "native"], 3, "the native backend runs on the CPU"),
        (["--precision", "fp16"], 2, "has no fp16 graphs"),
        (["--precision", "fp16", "--device", "cuda"], 2, "has no fp16 graphs"),
        (["--concurrency", "0"], 2, "concurrency must be a whole number from 1 to 256, found 0"),
        (
            ["--compute-concurrency", "5"],
            2,
            r"compute_concurrency must be at most concurrency \(4\), found 5",
        ),
        (
            ["--warm-up", "8x8", "--warm-up", "99999x99999"],
            2,
            "the warm_up 99999x99999 has 9999800001 pixels, and max_input_pixels is 16777216; "
            "choose a smaller one",
        ),
        (
            ["--warm-up", "40x30", "--max-output-pixels", "19199"],
            2,
            "the warm_up 40x30 makes 160x120, which has 19200 pixels, and max_output_pixels is "
            "19199; choose a smaller one",
        ),
        (
            ["--warm-up", "40x30", "--max-output-pixels", "19199", "--device", "cuda"],
            2,
            "the warm_up 40x30 makes 160x120, which",
        ),
        (["--warm-up", "40"], 2, "unknown size '40'; expected WIDTHxHEIGHT"),
        (["--timeout-ms", "-1"], 2, "timeout_ms must be a number of milliseconds above 0"),
    ],
)
def test_options_are_checked_before_anything_is_written(
    options: list[str], code: int, text: str, three_way_bundle: Path, tmp_path: Path
) -> None:
    done = repository(three_way_bundle, "-o", tmp_path / "models", *options)
    assert done.code == code
    assert len(done.complaints) == 1
    assert re.search(text, done.stderr), done.stderr
    assert not (tmp_path / "models").exists()


def test_several_bundles_need_names_of_their_own(three_way_bundle: Path, tmp_path: Path) -> None:
    twice = repository(three_way_bundle, three_way_bundle, "-o", tmp_path / "models")
    assert twice.code == 2
    assert "two bundles would both become the model" in twice.stderr
    named = repository(three_way_bundle, three_way_bundle, "-o", tmp_path / "models", "--name", "m")
    assert named.code == 2
    assert "--name is for one bundle, found 2" in named.stderr


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    done = repository(tmp_path, "-o", tmp_path / "models")
    assert (done.code, len(done.complaints)) == (2, 1)
    assert "is not a bundle" in done.stderr


def test_a_repository_within_the_bundle_is_refused(three_way_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(three_way_bundle, bundle)
    done = repository(bundle, "-o", bundle / "models")
    assert (done.code, len(done.complaints)) == (2, 1)
    assert "lies in" in done.stderr
    assert not (bundle / "models").exists()


def test_a_budget_s_correction_is_a_parameter(three_way_bundle: Path, tmp_path: Path) -> None:
    bundle = calibrated(three_way_bundle, tmp_path / "calibrated")
    options = ["--budget-ms", 1e6, "--adaptive-budget"]
    done = repository(bundle, "-o", tmp_path, "--name", "m", *options)
    assert done.code == 0, done.stderr
    routing = Settings.read(parameters(config(tmp_path / "m"))).routing
    assert routing == {"budget_ms": 1e6, "adaptive_budget": True}
