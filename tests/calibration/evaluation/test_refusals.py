"""Options that do not go together: one line, exit code 2, and nothing written."""

from pathlib import Path

import pytest

from .pictures import run

CURVE = ["--curve", "c.png"]
CASES: dict[str, tuple[list[str], str]] = {
    "step": (["--patches", "16", "--step", "20"], "must be at most their side (16 px), found 20"),
    "no-patch": (["--patches", "0"], "must be a whole number from 1 on, found 0"),
    "negative-patch": (["--patches", "-3"], "must be a whole number from 1 on, found -3"),
    "no-overlap": (["--patches", "4"], "name a --step up to 4"),
    "no-step": (["--patches", "16", "--step", "0"], "must be a whole number from 1 on, found 0"),
    "no-batch": (["--crop", "--patch-batch", "0"], "must be a whole number from 1 on, found 0"),
    "lone-step": (["--step", "28"], "--step says how patches are cut; add --patches or --crop"),
    "lone-batch": (["--patch-batch", "9"], "--patch-batch says how patches are cut"),
    "two-crops": (["--crop", "--patches", "8", "--patches", "9"], "found --patches 8 and 9"),
    "fraction": (["--scale", "2.5", "--patches", "8"], "patches need a whole scale, found 2.5"),
    "fraction-cropped": (["--scale", "2.5", "--crop"], "patches need a whole scale, found 2.5"),
    "budget": (["--budget-ms", "9", "--patches", "8"], "a budget is the time of a whole image"),
    "two-outputs": (["--table", "csv", "--json", "-"], "would both go to standard output"),
    "unrounded": (["--unrounded-lr", "--lr", "hr"], "is for LR images that are made"),
    "no-table": (["--test-set", "Test2K"], "--test-set adds rows to a --table"),
    "unknown-set": (["--table", "text", "--test-set", "Set5"], "known: Test2K, Test4K, Test8K"),
    "other-scale": (
        ["--table", "text", "--test-set", "test4k", "--scale", "2"],
        "the published figures for Test4K are of scale 4, found 2",
    ),
    "sweep": (["--k-sweep", "0:1", *CURVE], "expected FIRST:LAST:COUNT"),
    "wide-sweep": (["--k-sweep", "0:1e9:3", *CURVE], "k must be a number within"),
    "refinements": (["--both-refinements", "--no-refine"], "leave out --refine and --no-refine"),
    "twice": (["--compare", "BUNDLE"], "is named twice"),
    "plain-twice": (["--plain", "PLAIN", "--plain", "PLAIN"], "is named twice"),
    "plain-compared": (["--compare", "PLAIN"], "--compare expects PCSR bundles"),
    "not-plain": (["--plain", "OTHER"], "--plain expects the bundle of a plain network"),
    "no-bundle": (["--compare", "hr"], "hr is not a bundle"),
    "one-upsampler": (["--compare", "SINGLE", "--k", "1", *CURVE], "one upsampler and nothing"),
    "one-point": (CURVE, "a curve needs at least two modes"),
}


@pytest.fixture
def names(
    carn_like_bundle: Path, plain_bundle: Path, three_way_bundle: Path, single_bundle: Path
) -> dict[str, Path]:
    bundles = (carn_like_bundle, plain_bundle, three_way_bundle, single_bundle)
    return dict(zip(("BUNDLE", "PLAIN", "OTHER", "SINGLE"), bundles, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(
    case: str,
    names: dict[str, Path],
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = CASES[case]
    result = run(names["BUNDLE"], image, *(names.get(word, word) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--both-refinements"], "is a plain network without refinement"),
        (["--compare", "BUNDLE"], "name a PCSR bundle first and this one by --plain"),
        (["--k-sweep", "0:1:2"], "is a plain network without routing"),
    ],
)
def test_a_plain_network_alone_has_no_modes(
    words: list[str], message: str, names: dict[str, Path], image: Path
) -> None:
    result = run(names["PLAIN"], image, *(names.get(word, word) for word in words))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["--patches", "64"], ["--crop", "--table", "latex"]])
def test_images_that_are_all_too_small_leave_nothing(
    words: list[str], names: dict[str, Path], two_images: list[Path], tmp_path: Path
) -> None:
    curve = tmp_path / "c.png"
    more = ["--k", "0", "--k", "1", "--curve", str(curve)]
    result = run(names["BUNDLE"], *two_images, *words, *more)
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 2
    assert all("is smaller than a patch" in line for line in result.stderr.splitlines())
    assert not curve.exists()
