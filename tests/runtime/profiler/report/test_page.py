"""The HTML report: whole, self-contained, and with what the profile says."""

import base64
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from pcsr.errors import OutputError, UsageError
from pcsr.overlay import draw_overlay
from pcsr.runtime.profiler.cli import main
from pcsr.runtime.profiler.record import Profile
from pcsr.runtime.profiler.report.page import write_report
from pcsr.runtime.profiler.report.routed_image import RoutedImage
from tests.commands import assert_refused, profile
from tests.runtime.profiler import made

HOSTILE = 'a<b><script>&"q"\'$x_1$\x07\udc80 \u6a21\u578b'


def tree_of(page: str) -> ElementTree.Element:
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def report(profile: Profile, folder: Path, sample: RoutedImage | None = None) -> str:
    write_report(profile, folder / "report.html", sample)
    return (folder / "report.html").read_text("utf-8")


def texts(page: str, path: str) -> list[str]:
    return ["".join(element.itertext()) for element in tree_of(page).iterfind(path)]


def row_of(page: str, caption: str, name: str) -> list[str]:
    for table in tree_of(page).iter("table"):
        if table.findtext("caption") == caption:
            for row in table.iter("tr"):
                cells = ["".join(cell.itertext()) for cell in row]
                if cells[0] == name:
                    return cells[1:]
    raise AssertionError(f"no row {name!r} under {caption!r}")


def drawings(page: str) -> list[str]:
    return [element.get("aria-label", "") for element in tree_of(page).iter("svg")]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(made.full_profile(), tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> str:
    return report(made.profile(made.case()), tmp_path_factory.mktemp("one"))


def test_the_page_needs_nothing_else(full: str) -> None:
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b", full)
    assert not re.search(r"https?:|@import|@font-face", full)
    for element in tree_of(full).iter():
        for name in ("src", "href"):
            assert element.get(name, "#").startswith(("#", "data:"))
    assert set(re.findall(r"url\((.)", full)) <= {"#"}


def test_ids_are_unique_and_what_refers_to_them_finds_them(full: str) -> None:
    ids = [element.get("id") for element in tree_of(full).iter() if element.get("id")]
    referred = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', full))
    assert len(ids) == len(set(ids))
    assert referred
    assert referred <= set(ids)


def test_every_drawing_says_what_it_shows(full: str) -> None:
    assert len(drawings(full)) > 8
    assert all(re.search(r"\d ms|\d \(|: \d", told) for told in drawings(full))
    assert {element.get("role") for element in tree_of(full).iter("svg")} == {"img"}


def test_every_case_has_a_sentence_and_a_heading(full: str) -> None:
    profile = made.full_profile()
    headings, sentences = texts(full, ".//h3"), texts(full, ".//ul[@class='answers']/li")
    assert len(headings) == len(sentences) == len(profile.cases)
    for case, heading, sentence in zip(profile.cases, headings, sentences, strict=True):
        height, width = case.hr_size
        assert heading == f"{case.name} to {width}x{height}"
        assert sentence.startswith(heading)


def test_a_sentence_answers_with_time_ratio_and_the_slowest_stage(full: str) -> None:
    case = made.full_profile().cases[6]
    sentence = texts(full, ".//ul[@class='answers']/li")[6]
    assert sentence == (
        f"carn-pcsr, ADM, 420x276 to 1680x1104: {case.host_ms.p50:.0f} ms median, 2.50 times as "
        "fast as carn-x4; backbone takes 80 %."
    )


def test_slower_than_the_baseline_is_said_so(tmp_path: Path) -> None:
    plain = made.case("fsrcnn-x4", "plain", median_ms=80)
    slower = made.case("fsrcnn-pcsr", median_ms=120, over_baseline=1.5)
    page = report(made.profile(plain, slower), tmp_path)
    answers = texts(page, ".//ul[@class='answers']/li")
    assert "the baseline" in answers[0]
    assert "1.50 times as slow as fsrcnn-x4" in answers[1]


def test_stages_pixels_and_ceilings_are_there(one: str) -> None:
    cells = row_of(one, "Stages, mean per call", "4 upsampler 0")
    mean = made.case().host_ms.mean
    assert cells[0] == f"{0.095 * mean:.1f}"
    assert cells[1:] == ["9.5 %", "370,944", "104", "84.6 %", "2.20", "12.6 %"]
    assert row_of(one, "Stages, mean per call", " unaccounted")[1] == "1.5 %"
    assert row_of(one, "Pixels per upsampler", " upsampler 1 (lightest)") == ["1,483,776", "80.0 %"]
    assert "123 GFLOP/s" in one
    assert "17.5 GB/s" in one


def test_a_gpu_shows_device_time_and_copies(tmp_path: Path) -> None:
    profile = made.gpu_profile()
    page = report(profile, tmp_path)
    case = profile.cases[0]
    assert case.device_ms is not None
    assert case.h2d_ms is not None
    assert f"({case.device_ms.p50:.3f} ms of device time)" in page
    h2d = row_of(page, "Distribution of times, ms", "copy to device (H2D)")
    assert h2d[0] == f"{case.h2d_ms.p50:.3f}"
    assert "760,000 GFLOP/s in half precision" in page
    assert "on A GPU made up for tests with A processor made up for tests" in page
    assert len(page) < 300_000  # 20,000 calls are not drawn one by one


def test_one_size_without_quality_or_baseline_has_only_its_own_plots(tmp_path: Path) -> None:
    page = report(made.profile(made.case(over_baseline=None)), tmp_path)
    assert [told.split(".")[0] for told in drawings(page)] == [
        "Stage bars",
        "Latency distribution and run",
    ]
    assert "Compared" not in texts(page, ".//h2")
    for absent in ("PSNR", "times as fast", "after another size", "H2D"):
        assert absent not in page


def test_sizes_quality_and_ratios_are_drawn_where_they_are_known(full: str) -> None:
    kinds = [told.split(".")[0] for told in drawings(full)]
    assert kinds.count("Stage bars") == 2
    assert kinds.count("Latency against size") == 1
    assert kinds.count("Quality against latency, LR 420x276") == 1
    assert kinds.count("Times as fast as the baseline") == 2
    assert row_of(full, "All cases, wall time of a call", "carn-x4, 420x276 to 1680x1104")[3] == (
        "baseline"
    )


def test_sizes_far_apart_have_plain_numbers(tmp_path: Path) -> None:
    page = report(made.profile(*(made.case(lr_size=(s, s)) for s in (20, 2000))), tmp_path)
    labels = texts(page, ".//svg//text")
    assert "0.01" in labels
    assert not any("math" in label for label in labels)


def test_warnings_come_first_and_at_their_case(full: str, one: str) -> None:
    body = full[full.index("<main>") :]
    assert body.index("clock fell by 12 %") < body.index("In short")
    assert texts(full, ".//article/ul") == ["unstable: p99 is 1.8 times the median"]
    assert "No warnings" in one
    assert "No warnings" not in full


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    case = replace(
        made.case(psnr_db=28.0, over_baseline=0.4),
        name=f"{HOSTILE}, {HOSTILE} mode, 420x276",
        bundle=f"/bundles/{HOSTILE}",
        mode=f"{HOSTILE} mode",
        backend=HOSTILE,
        warnings=(HOSTILE,),
    )
    stages = (replace(case.stages[0], name=HOSTILE), *case.stages[1:])
    cases = replace(case, stages=stages), made.case(mode="plain")
    whole = made.profile(*cases, warnings=(HOSTILE,))
    other = replace(made.case(lr_size=(64, 64)), name=f"{HOSTILE}, 64x64")
    profile = replace(
        whole,
        environment={**whole.environment, HOSTILE: {HOSTILE: [HOSTILE]}},
        cases=(*whole.cases, other),
    )
    page = report(profile, tmp_path)
    shown = HOSTILE.replace("\x07\udc80", "\N{REPLACEMENT CHARACTER}")
    assert texts(page, ".//h1") == [f"Latency of {shown}, carn-pcsr"]
    assert not list(tree_of(page).iter("b"))
    assert "<script" not in page
    assert any(shown in text for text in texts(page, ".//svg//text"))


def test_a_long_name_fits_the_drawing(tmp_path: Path) -> None:
    long = replace(made.case(), name="n" * 300 + ", 420x276")
    page = report(made.profile(long), tmp_path)
    assert max(len(text) for text in texts(page, ".//svg//text")) < 65


def test_nothing_known_is_no_error(tmp_path: Path) -> None:
    stages = tuple(
        replace(s, pixels=None, gflop_s=None, gb_s=None, of_compute=None, of_memory=None)
        for s in made.case().stages
    )
    bare = replace(
        made.case(over_baseline=None),
        stages=stages,
        heavy_share=None,
        peak_mib=None,
        pixels_per_upsampler=(),
        times_ms=(719.0,),
    )
    page = report(made.profile(replace(bare, unaccounted_ms=-3.0)), tmp_path)
    assert row_of(page, "Stages, mean per call", "1 backbone")[2:] == ["\N{EN DASH}"] * 5


def test_a_sample_shows_its_routing(tmp_path: Path) -> None:
    image = made.picture()
    upscaled = np.kron(image, np.ones((4, 4, 1), np.uint8))
    assignment = np.ones(upscaled.shape[:2], np.uint8)
    assignment[:69] = 0
    page = report(
        made.profile(made.case()), tmp_path, RoutedImage(image, upscaled, assignment, (1, 3), "<s>")
    )
    shown = list(tree_of(page).iter("img"))
    assert [image.get("alt") for image in shown] == [
        "Routing of <s>, 420x276",
        "Input of <s>, 105x69",
        "Upscaled of <s>, 420x276",
    ]
    assert "<s>" in texts(page, ".//section/p")
    assert "upsampler 0 (heaviest): 25.0 % of the pixels" in page
    overlay = decoded(shown[0].get("src", ""))
    difference = np.abs(overlay - draw_overlay(upscaled, assignment, 2).astype(int))
    assert difference.mean() < 3


def decoded(uri: str) -> np.ndarray:
    import pyvips

    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    image = pyvips.Image.new_from_buffer(base64.b64decode(data), "")
    return np.asarray(image.numpy(), int)


def test_a_sample_may_be_large_and_plain(tmp_path: Path) -> None:
    image = np.full((600, 1000, 3), 128, np.uint8)
    page = report(made.profile(made.case()), tmp_path, RoutedImage(image, image, None, (), "s"))
    shown = [decoded(element.get("src", "")) for element in tree_of(page).iter("img")]
    assert [picture.shape[:2] for picture in shown] == [(576, 960)] * 2
    assert all(abs(picture.mean() - 127.5) < 2 for picture in shown)


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    image = made.picture()
    wrong = RoutedImage(image, image, np.zeros((5, 5), np.uint8), (1, 1), "s")
    with pytest.raises(UsageError, match="expected an assignment"):
        report(made.profile(made.case()), tmp_path, wrong)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_what_it_measured(
    quick: None, carn_like_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    options = ["--size", "24x20", "--warmup", "0", "--duration", "0.001", "--iterations", "2"]
    done = CliRunner().invoke(main, [str(carn_like_bundle), *options, "--report", str(path)])
    assert done.exit_code == 0, done.output
    page = path.read_text("utf-8")
    assert texts(page, ".//h3") == [f"{carn_like_bundle.name}, k=0, 24x20 to 96x80"]
    assert [image.get("alt", "").split(" of ")[0] for image in tree_of(page).iter("img")] == [
        "Routing",
        "Input",
        "Upscaled",
    ]


def test_an_existing_file_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_report(made.profile(made.case()), path)
    assert path.read_text() == "mine"
    write_report(made.profile(made.case()), path, overwrite=True)
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_without_a_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.delitem(sys.modules, "pcsr.runtime.profiler.report.page")
    monkeypatch.setitem(sys.modules, package, None)
    ended = profile(tmp_path / "unread", "--report", tmp_path / "report.html")
    assert_refused(ended, 3, rf"--report needs {package}.*pcsr\[evaluate\]")


def test_the_style_of_the_callers_plots_stays(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    report(made.profile(made.case()), tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_the_same_profile_gives_the_same_page(one: str, tmp_path: Path) -> None:
    assert report(made.profile(made.case()), tmp_path) == one
