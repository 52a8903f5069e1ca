"""Sections by their names."""

import pytest

from benchmarks.device.sections import Section, make_sections, parse_section
from pcsr.errors import UsageError


def test_a_section_is_found_by_its_name() -> None:
    sections = make_sections(("carn", "fsrcnn"), ("fp16", "fp32"), [(1080, 1920), (3, 5)])
    assert {section.kind for section in sections} == {
        *("ceilings", "fidelity", "time", "kernels", "compiled")
    }
    assert [parse_section(section.name) for section in sections] == sections
    assert parse_section("time:carn:fp16:5x3") == Section("time", "carn", "fp16", (3, 5))


@pytest.mark.parametrize(
    "name",
    [
        *("", "times carn fp16 5x3", "ceilings carn", "fidelity carn", "fidelity carn fp16 5x3"),
        *("time carn fp16", "time carn int8 5x3", "time vdsr fp16 5x3", "time carn fp16 5", "run"),
    ],
)
def test_what_names_no_section_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        parse_section(name)
