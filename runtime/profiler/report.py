"""A profile as one HTML page that needs nothing else: no network, no script."""

from importlib.resources import files
from pathlib import Path

from pcsr.atomic import atomic_file, refuse_existing

from .record import Profile
from .report_html import Html, tag
from .report_plots import stage_colours
from .report_sample import Sample, sample_figures
from .report_sections import (
    answers,
    circumstances,
    comparisons,
    costs,
    details,
    section,
    stage_bars,
    warnings,
)
from .report_svg import drawing
from .report_words import headline, machine

__all__ = ["Sample", "write_report"]


def write_report(
    profile: Profile, path: Path, sample: Sample | None = None, overwrite: bool = False
) -> None:
    """Writes the report of a profile, with the routing of a sample where one is given.

    Raises:
        BackendError: matplotlib is not installed.
        OutputError: `path` exists and `overwrite` is off, or cannot be written.
        ImageError, UsageError: the arrays of the sample do not fit each other.
    """
    refuse_existing(path, overwrite)
    with drawing():
        page = _page(profile, sample)
    with atomic_file(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _page(profile: Profile, sample: Sample | None) -> str:
    name = f"Latency of {headline(profile)}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", name),
        tag("style", Html(files(__package__).joinpath("report.css").read_text("utf-8"))),
    )
    title = tag("header", tag("h1", name), tag("p", f"Measured by pcsr-profile {machine(profile)}"))
    body = tag("body", title, tag("main", *_sections(profile, sample)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _sections(profile: Profile, sample: Sample | None) -> list[Html]:
    names = dict.fromkeys(stage.name for case in profile.cases for stage in case.stages)
    colours = stage_colours(list(names))
    sections = [warnings(profile), answers(profile)]
    if profile.cases:
        sections += [stage_bars(profile, colours), *comparisons(profile)]
    if sample is not None:
        sections.append(section("Routing of a sample", sample_figures(sample)))
    if profile.cases:
        sections += [costs(profile), details(profile, colours)]
    return [*sections, circumstances(profile)]
