"""A profile as one HTML page that needs nothing else: no network, no script."""

from pathlib import Path
from typing import Any

import jinja2
import matplotlib

from pcsr.atomic import atomic_file
from pcsr.runtime.profiler.record import Profile

from . import plots, svg, words
from .routed_image import RoutedImage, data_uri, upsampler_shares


def write_report(
    profile: Profile, path: Path, sample: RoutedImage | None = None, overwrite: bool = False
) -> None:
    """Writes the report of a profile, with the routing of a sample where one is given.

    Raises:
        OutputError: `path` exists and `overwrite` is off, or cannot be written.
        ImageError, UsageError: the arrays of the sample do not fit each other.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        finalize=_printable,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=words.number, percent=words.percent, title=words.title, data_uri=data_uri
    )
    template = environment.get_template("page.html.j2")
    with matplotlib.rc_context(svg.STYLE):
        page = template.render(
            profile=profile,
            cases=profile.cases,
            sample=sample,
            marks=plots.stage_marks(profile.cases),
            plots=plots,
            upsampler_shares=upsampler_shares,
            words=words,
        )
    with atomic_file(path, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _printable(value: Any) -> Any:  # noqa: ANN401
    """Replaces what no page may hold in text; finished markup stays."""
    return words.clean(value) if type(value) is str else value
