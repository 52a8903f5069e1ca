"""manifest.schema.json: a JSON Schema of draft 2020-12. `pcsr.schema` judges by it as a library's
validator does, and what it refuses the loader refuses.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pcsr.bundle import MANIFEST, Bundle
from pcsr.errors import BundleError
from pcsr.manifest import SCHEMA, Costs, File, Graph, Manifest, Model, Tensor
from pcsr.schema import RULES, check
from tests.pcsr.test_bundle import DAMAGES, KEYS, edit, graphs

Json = dict[str, Any]
BUNDLES = ["carn_like_bundle", "three_way_bundle", "single_bundle", "plain_bundle"]
KEYWORDS = {*RULES, "required", "properties", "additionalProperties", "items", "$ref"}
KEYWORDS |= {"if", "then", "else", "$schema", "$defs", "title", "description"}
# What one value says of another is checked behind the schema, and a path when its file is read.
BEHIND = {"one-upsampler", "no-classifier", "no-upsampler-1", "exchanged", "features-last"}
BEHIND |= {"no-features", "row-graph-as-backbone", "mlps-elsewhere"}
WRONG: list[Any] = [
    None,
    True,
    0,
    -1,
    2,
    1.5,
    2000,
    "",
    "a\0b",
    "plain",
    "float16",
    "index",
    [],
    [1],
    {},
]
REFUSALS: dict[str, tuple[Callable[[Json], Any], str]] = {
    "key": (lambda m: m["mlps"].pop("sha256"), "mlps: no sha256"),
    "choice": (
        lambda m: m.update(kind="other"),
        r'kind: expected one of \["pcsr", "plain"\], found "other"',
    ),
    "number": (
        lambda m: m["costs"].update(backbone_flops=0),
        "costs.backbone_flops: expected more than 0, found 0",
    ),
    "boolean": (lambda m: m.update(trained_scale=True), 'expected "number", found true'),
    "fraction": (
        lambda m: m["model"].update(working_bytes_per_px=288.0),
        'model.working_bytes_per_px: expected "integer", found 288.0',
    ),
    "infinite": (lambda m: m.update(trained_scale=float("inf")), "it holds the number Infinity"),
    "nan": (lambda m: m.update(trained_scale=float("nan")), "it holds the number NaN"),
    "list": (lambda m: m.update(vectors=[]), r'vectors: expected \["object", "null"\], found \[\]'),
    "dtype": (
        lambda m: graphs(m)["upsampler_1"]["inputs"][1].update(dtype="int64"),
        r'graphs.fp32.upsampler_1.inputs\[1\].dtype: expected "int32", found "int64"',
    ),
    "scalar": (
        lambda m: graphs(m)["backbone"]["outputs"][0].update(shape=[]),
        r"outputs\[0\].shape: expected 1 or more items, found \[\]",
    ),
    "precision": (
        lambda m: m["graphs"].update(fp4=graphs(m)),
        'graphs: expected only .*"fp32".*, found "fp4"',
    ),
    "calibration": (
        lambda m: m["calibrations"].update(other={"file": "a", "sha256": "b"}),
        'calibrations: expected only .*"int8".*, found "other"',
    ),
    "costs": (
        lambda m: m["costs"].update(upsampler_macs=[1]),
        "unexpected costs of 1 upsamplers instead of 2",
    ),
}


@pytest.fixture(scope="module")
def schema() -> Json:
    found: Json = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def manifest(carn_like_bundle: Path) -> Json:
    found: Json = json.loads((carn_like_bundle / MANIFEST).read_text(encoding="utf-8"))
    return found


def test_it_is_a_valid_schema(schema: Json) -> None:
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", BUNDLES)
def test_it_takes_what_is_exported(name: str, schema: Json, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    Draft202012Validator(schema).validate(json.loads((path / MANIFEST).read_text()))


@pytest.mark.parametrize("case", [*DAMAGES, *KEYS])
def test_damages_are_judged_as_by_a_library(case: str, schema: Json, manifest: Json) -> None:
    if case in DAMAGES:
        DAMAGES[case](manifest)
    else:
        del manifest[case]
    if case != "scale-nan":  # to jsonschema, NaN is a number that is not less than 1
        assert Draft202012Validator(schema).is_valid(manifest) == (case in BEHIND)
    assert fits(manifest, schema) == (case in BEHIND)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_is_judged_as_by_a_library(data: st.DataObject, bundles: list[str]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    manifest = json.loads(data.draw(st.sampled_from(bundles)))
    holder, key = data.draw(st.sampled_from(list(places(manifest))))
    if data.draw(st.booleans()):
        holder[key] = data.draw(st.sampled_from(WRONG))
    else:
        del holder[key]
    assert fits(manifest, schema) == Draft202012Validator(schema).is_valid(manifest)


@pytest.fixture(scope="module")
def bundles(request: pytest.FixtureRequest) -> list[str]:
    return [(request.getfixturevalue(name) / MANIFEST).read_text() for name in BUNDLES]


def places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """Every (object or list, key) in a JSON value."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def fits(manifest: Json, schema: Json) -> bool:
    try:
        check(manifest, schema, schema)
    except ValueError:
        return False
    return True


def test_it_uses_no_keyword_that_is_passed_over(schema: Json) -> None:
    used: set[str] = set()

    def look(part: Json) -> None:
        used.update(part)
        inside = [
            part.get(name) for name in ("if", "then", "else", "items", "additionalProperties")
        ]
        named = [*part.get("$defs", {}).values(), *part.get("properties", {}).values()]
        for each in (*inside, *named):
            if each:
                look(each)

    look(schema)
    assert used <= KEYWORDS, used - KEYWORDS


def test_it_requires_what_the_manifest_holds(schema: Json) -> None:
    def names(kind: type[Any]) -> list[str]:
        return [entry.name for entry in fields(kind)]

    parts = schema["$defs"]
    assert schema["required"] == ["format", "format_version", *names(Manifest)]
    assert list(schema["properties"]) == schema["required"]
    for part, kind in {"model": Model, "costs": Costs, "file": File, "tensor": Tensor}.items():
        assert names(kind) == list(parts[part]["properties"])
        optional = {entry.name for entry in fields(kind) if entry.default is not MISSING}
        assert optional == ({"size_multiple", "parameters"} if kind is Model else set())
        assert parts[part]["required"] == [name for name in names(kind) if name not in optional]
    assert parts["file"]["required"] + parts["graph"]["required"] == names(Graph)


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_was_expected_and_found(
    case: str, carn_like_bundle: Path, tmp_path: Path
) -> None:
    change, pattern = REFUSALS[case]
    (tmp_path / MANIFEST).write_bytes((carn_like_bundle / MANIFEST).read_bytes())
    edit(tmp_path, change)
    with pytest.raises(BundleError, match=f"{pattern}.*; export the bundle again$"):
        Bundle.load(tmp_path)
