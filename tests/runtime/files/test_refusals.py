"""pcsr-upscale refuses bad input in one line each; what is good is done, what is there is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from PIL import Image

from tests.commands import assert_clean, assert_refused, snapshot, upscale

from .pictures import SIZE, picture, size_of, spoilt

LARGE = (4 * SIZE[0], 4 * SIZE[1])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A good picture, in a folder of its own."""
    return picture(tmp_path / "inputs" / "in.png")


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A folder for results; after the test it must hold no temporary file."""
    (tmp_path / "out").mkdir()
    yield tmp_path / "out"
    assert not [name for name in snapshot(tmp_path) if Path(name).name.startswith(".")]


# Images


def test_bad_images_among_good_ones(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    good = [picture(folder / name) for name in ("a.png", "m.png", "z.png")]
    bad = list(spoilt(folder))
    ended = upscale(carn_like_bundle, folder, out)
    assert ended.code == 1
    assert_clean(ended)
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in good]
    errors = [line for line in ended.complaints if line.startswith("error: ")]
    assert len(errors) == len(bad)
    for path in bad:
        assert sum(str(path) in line for line in errors) == 1
    assert len(ended.complaints) == len(good) + len(bad) + 1
    assert ended.complaints[-1].startswith(f"{len(good)} done, {len(bad)} failed in ")


def test_each_bad_image_alone(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    for path in spoilt(tmp_path):
        ended = upscale(carn_like_bundle, path, out / "out.png")
        assert_refused(ended, 1, f"cannot read .*{path.name}: .*(expected|damaged).*;")
    assert snapshot(out) == {}


def test_other_formats(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    other = picture(tmp_path / "a.jp2")
    renamed = other.rename(tmp_path / "jp2.png")
    ended = upscale(carn_like_bundle, renamed, out / "out.png")
    assert_refused(ended, 1, "expected PNG, JPEG, .* or BMP, found JPEG 2000; convert it first")


def test_a_suffix_that_cannot_be_written_does_not_stop_the_others_half_way(
    carn_like_bundle: Path, out: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "inputs"
    names = ("a.png", "b.tga", "c.png")
    ended = upscale(carn_like_bundle, *[picture(folder / name) for name in names], out)
    assert "b.tga" in ended.stderr
    done = sorted(path.name for path in out.iterdir())
    assert (ended.code, done) in [(2, []), (1, ["a.png", "c.png"])]


def test_bomb(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (12_000, 9_000)).save(bomb)
    assert bomb.stat().st_size < 100_000
    ended = upscale(carn_like_bundle, bomb, out / "out.png")
    assert_refused(ended, 1, "expected at most .* found 12000x9000 = 108000000; raise --max-pixels")
    assert snapshot(out) == {}


def test_own_limit_of_pixels(carn_like_bundle: Path, source: Path, out: Path) -> None:
    pixels, target = SIZE[0] * SIZE[1], out / "out.png"
    ended = upscale(carn_like_bundle, source, target, "--max-pixels", pixels - 1)
    assert_refused(ended, 1, f"at most {pixels - 1} pixels, found .*{pixels}; raise --max-pixels")
    assert upscale(carn_like_bundle, source, target, "--max-pixels", pixels).code == 0


@pytest.mark.parametrize(("scale", "size"), [(700, (60, 80)), (999.9, (40, 60))])
def test_results_beyond_all_measure(
    scale: float, size: tuple[int, int], carn_like_bundle: Path, source: Path, out: Path
) -> None:
    picture(source, size=size)
    ended = upscale(carn_like_bundle, source, out / "out.png", "--scale", scale)
    assert_refused(ended, 1, "in.png would become .*smaller --scale")
    assert snapshot(out) == {}


# Outputs


def test_existing_output(carn_like_bundle: Path, source: Path, out: Path) -> None:
    target = out / "out.png"
    target.write_bytes(b"precious")
    ended = upscale(carn_like_bundle, source, target)
    assert_refused(ended, 1, "out.png exists; pass --overwrite")
    assert target.read_bytes() == b"precious"
    assert upscale(carn_like_bundle, source, target, "--overwrite").code == 0
    assert size_of(target) == LARGE


def test_existing_overlay_stops_before_the_work(
    carn_like_bundle: Path, source: Path, out: Path
) -> None:
    (out / "map.png").write_bytes(b"precious")
    ended = upscale(carn_like_bundle, source, out / "out.png", "--overlay", out / "map.png")
    assert_refused(ended, 1, "map.png exists; pass --overwrite")
    assert snapshot(out) == {"map.png": b"precious"}


def test_a_damaged_input_keeps_the_old_output(carn_like_bundle: Path, out: Path) -> None:
    (out / "out.png").write_bytes(b"precious")
    (out / "in.png").write_bytes(b"")
    before = snapshot(out)
    ended = upscale(carn_like_bundle, out / "in.png", out / "out.png", "--overwrite")
    assert_refused(ended, 1, "cannot read")
    assert snapshot(out) == before


def outputs_that_are_inputs(source: Path) -> Iterator[tuple[Path, list[Any]]]:
    yield source, []
    yield source.parent / ".." / source.parent.name / source.name, []
    yield source.parent, []
    yield source.with_name("other.png"), ["--overlay", source]
    source.with_name("link.png").symlink_to(source.name)
    yield source.with_name("link.png"), []


def test_inputs_are_never_replaced(carn_like_bundle: Path, source: Path) -> None:
    for output, options in outputs_that_are_inputs(source):
        before = snapshot(source.parent)
        ended = upscale(carn_like_bundle, source, output, "--overwrite", *options)
        assert_refused(ended, 2, "is one of the inputs; choose another output")
        assert snapshot(source.parent) == before


def test_output_and_overlay_of_one_name(carn_like_bundle: Path, source: Path, out: Path) -> None:
    ended = upscale(carn_like_bundle, source, out / "o.png", "--overlay", out / "o.png")
    assert_refused(ended, 2, "o.png")
    assert "different folders" not in ended.stderr, "that would not help"


@pytest.mark.parametrize("options", [[], ["--format", "webp"]])
def test_two_inputs_of_one_name(
    options: list[str], carn_like_bundle: Path, out: Path, tmp_path: Path
) -> None:
    second = "one/a.jpg" if options else "two/a.png"
    sources = [picture(tmp_path / name) for name in ("one/a.png", second)]
    ended = upscale(carn_like_bundle, *sources, out, *options)
    assert_refused(ended, 2, "would both become .*different folders")
    assert snapshot(out) == {}


@pytest.mark.parametrize("below", [".", "sub"])
def test_output_folder_that_is_a_file(
    below: str, carn_like_bundle: Path, source: Path, out: Path
) -> None:
    (out / "file").write_text("precious")
    another = picture(source.with_name("b.png"))
    ended = upscale(carn_like_bundle, source, another, out / "file" / below)
    assert ended.code in (1, 2)
    assert all(line.startswith("error: ") for line in ended.complaints)
    assert "file" in ended.complaints[0]
    assert snapshot(out) == {"file": b"precious"}


def test_unknown_output_suffix_leaves_no_folder(
    carn_like_bundle: Path, out: Path, tmp_path: Path
) -> None:
    ended = upscale(carn_like_bundle, picture(tmp_path / "in.gif"), out / "sub" / "out.gif")
    assert_refused(ended, 2, "out.gif.* .png .jpg")
    assert snapshot(out) == {}


# Options

OPTIONS: dict[str, tuple[list[Any], int, str]] = {
    "k-nan": (["--k", "nan"], 2, "k must be a number within .*, found nan"),
    "k-inf": (["--k", "inf"], 2, "k must be a number within .*, found inf"),
    "k-text": (["--k", "much"], 2, "'much' is not a valid float"),
    "scale-0": (["--scale", 0], 2, "scale must be a number from 1 to 1000, found 0"),
    "scale-half": (["--scale", 0.5], 2, "scale must be .* from 1 to 1000, found 0.5"),
    "scale-minus": (["--scale", -2], 2, "scale must be .* from 1 to 1000, found -2"),
    "scale-nan": (["--scale", "nan"], 2, "scale must be .*found nan"),
    "scale-inf": (["--scale", "inf"], 2, "scale must be .*found inf"),
    "scale-huge": (["--scale", 1e300], 2, r"scale must be .*found 1e\+300"),
    "ratio-2": (["--heavy-ratio", 2], 2, r"heavy.ratio must lie in \[0, 1\], found 2"),
    "ratio-minus": (["--heavy-ratio", -0.1], 2, r"heavy.ratio must lie .*found -0.1"),
    "ratio-nan": (["--heavy-ratio", "nan"], 2, "heavy.ratio must lie .*found nan"),
    "two-modes": (["--adaptive", "--heavy-ratio", 0.2], 2, "exclude each other"),
    "adaptive-k": (["--adaptive", "--k", 1], 2, "k is not used with adaptive"),
    "ratio-k": (["--heavy-ratio", 0.2, "--k", 1], 2, "k is not used with"),
    "tpu": (["--device", "tpu"], 2, "unknown device 'tpu'; expected cpu, cuda"),
    "twice": (
        ["--device", "cuda:0,cpu,cuda"],
        2,
        "device 'cuda' is named twice in 'cuda:0,cpu,cuda'",
    ),
    "tpu too": (["--device", "cpu,tpu"], 2, "unknown device 'tpu'; expected cpu, cuda"),
    "cpu-1": (["--device", "cpu:1"], 2, "unknown device 'cpu:1'"),
    "backend": (["--backend", "magic"], 2, "unknown backend 'magic'; expected .*onnxruntime"),
    "precision": (["--precision", "fp16"], 2, r"no fp16 graphs \(it has: fp32\)"),
    "threads-0": (["--threads", 0], 2, "0 is not in the range"),
    "quality-0": (["--quality", 0], 2, "0 is not in the range"),
    "quality-101": (["--quality", 101], 2, "101 is not in the range"),
    "max-pixels-0": (["--max-pixels", 0], 2, "0 is not in the range"),
    "format": (["--format", "gif"], 2, "'gif' is not one of"),
    "unknown": (["--nonsense"], 2, "No such option"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_out_of_range(case: str, carn_like_bundle: Path, source: Path, out: Path) -> None:
    options, code, pattern = OPTIONS[case]
    ended = upscale(carn_like_bundle, source, out / "sub" / "out.png", *options)
    assert_refused(ended, code, pattern)
    assert snapshot(out) == {}


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime knows CUDA",
)
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_where_there_is_none(
    device: str, carn_like_bundle: Path, source: Path, out: Path
) -> None:
    ended = upscale(carn_like_bundle, source, out / "out.png", "--device", device)
    assert_refused(ended, 3, f"device '{device}' is not there.*--device cpu")
    assert snapshot(out) == {}


PLAIN: dict[str, tuple[list[Any], str]] = {
    "k": (["--k", 1], "plain network without routing"),
    "adaptive": (["--adaptive"], "plain network without routing"),
    "ratio": (["--heavy-ratio", 0.5], "plain network without routing"),
    "scale": (["--scale", 2], "plain network that upscales by 4 only"),
    "overlay": (["--overlay", "map.png"], "no routing to draw an overlay of"),
}


@pytest.mark.parametrize("case", PLAIN)
def test_plain_bundle_has_no_routing(
    case: str, plain_bundle: Path, source: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    options, pattern = PLAIN[case]
    assert_refused(upscale(plain_bundle, source, out / "sub" / "o.png", *options), 2, pattern)
    assert snapshot(out) == {}


def test_one_upsampler_has_no_routing(single_bundle: Path, source: Path, out: Path) -> None:
    ended = upscale(single_bundle, source, out / "o.png", "--overlay", out / "map.png")
    assert_refused(ended, 2, "no routing to draw an overlay of")
    assert snapshot(out) == {}


# Inputs


def test_missing_input(carn_like_bundle: Path, source: Path, out: Path) -> None:
    ended = upscale(carn_like_bundle, source, source.with_name("none.png"), out)
    assert_refused(ended, 2, "none.png: No such file")
    assert snapshot(out) == {}


def test_folder_without_images(carn_like_bundle: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(upscale(carn_like_bundle, tmp_path / "empty", out), 2, "no .png .* in .*empty")


def test_forgotten_arguments(carn_like_bundle: Path, source: Path) -> None:
    assert_refused(upscale(carn_like_bundle, source), 2, "Missing argument")
    assert_refused(upscale(), 2, "Missing argument")


def test_bundle_and_input_exchanged(carn_like_bundle: Path, source: Path, out: Path) -> None:
    ended = upscale(source, carn_like_bundle, out / "out.png")
    assert_refused(ended, 2, "in.png is not a bundle")
