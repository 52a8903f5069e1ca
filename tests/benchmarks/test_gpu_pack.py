"""`make gpu-pack`, with networks and wheels that are played."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import gpu_pack
from benchmarks.gpu_pack import MIB
from benchmarks.pack import contents, libraries, wheels
from pcsr.errors import OutputError


@pytest.fixture
def bundle_mib(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Size of each of the made-up bundles, which take no room."""
    size = [1]

    def export(models: list[str], pack: Path, say: object) -> dict[str, list[Path]]:
        bundles = {model: pack / "bundles" / f"{model}-bundle" for model in models}
        for bundle in bundles.values():
            bundle.mkdir(parents=True, exist_ok=True)
            with (bundle / "file").open("wb") as file:
                file.truncate(size[0] * MIB)
        return {model: [bundle] for model, bundle in bundles.items()}

    def download(pack: Path) -> list[Path]:
        (pack / "wheels").mkdir(exist_ok=True)
        (pack / "wheels" / "click.whl").touch()
        return [pack / "wheels" / "click.whl"]

    monkeypatch.setattr(contents, "export_bundles", export)
    monkeypatch.setattr(wheels, "download_wheels", download)
    return size


def pack(folder: Path, *arguments: str) -> Result:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "carn-x4.pth").touch()
    words = ["--checkpoints", f"{folder / 'checkpoints'}", "--output", f"{folder / 'pack'}"]
    return CliRunner().invoke(gpu_pack.main, [*words, *arguments])


@pytest.mark.usefixtures("bundle_mib")
def test_it_says_what_travels_and_what_to_run(tmp_path: Path) -> None:
    done = pack(tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "pack: 3.0 MiB" in done.stdout
    needed = "pack/checkpoints pack/bundles pack/wheels pack/pack.json"
    assert f"Every run needs {needed}." in done.stdout
    assert "make gpu-first PACK=pack OUT=$OUT" in done.stdout
    assert "TensorRT" not in done.stdout
    inside = json.loads((tmp_path / "pack" / "pack.json").read_text())["inside"]
    assert sorted(inside) == [
        *("bundles/carn-bundle", "bundles/fsrcnn-bundle", "bundles/srresnet-bundle"),
        *("checkpoints/carn-x4.pth", "wheels/click.whl"),
    ]


def test_each_run_is_told_what_it_needs_where_all_is_too_large(
    tmp_path: Path, bundle_mib: list[int]
) -> None:
    bundle_mib[0] = 25
    done = pack(tmp_path)
    first, second = (line for line in done.stdout.splitlines() if " needs " in line)
    assert first.startswith("gpu-first needs pack/wheels/click.whl pack/pack.json ")
    assert "pack/checkpoints/carn-x4.pth pack/bundles/carn-bundle pack/bundles/fsrcnn" in first
    assert "srresnet" not in first
    assert first.endswith(": 50.0 MiB.")
    assert second.endswith(": 75.0 MiB; TOO LARGE for one transfer.")


@pytest.mark.usefixtures("bundle_mib")
def test_libraries_travel_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack_libraries(pack: Path, python: str, say: object) -> list[Path]:
        assert python == "3.13"
        (pack / "tensorrt-rtx").mkdir()
        parts = [pack / "tensorrt-rtx" / f"part-0{number}" for number in range(2)]
        for part in parts:
            part.touch()
        return parts

    monkeypatch.setattr(libraries, "pack_libraries", pack_libraries)
    for arguments in (("--tensorrt-rtx", "--python", "3.13"), ()):  # they stay in the pack
        done = pack(tmp_path, *arguments)
        assert "where its 2 parts were unpacked" in done.stdout
        assert "only while the same machine stays" in done.stdout


@pytest.mark.usefixtures("bundle_mib")
def test_a_pack_that_is_not_whole_is_no_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pack: Path) -> list[Path]:
        raise OutputError("no wheels")

    monkeypatch.setattr(wheels, "download_wheels", refuse)
    done = pack(tmp_path)
    assert (done.exit_code, done.stderr) == (1, "error: no wheels\n")
    assert not (tmp_path / "pack" / "pack.json").exists()
