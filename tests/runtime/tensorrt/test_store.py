"""Engines kept in a bundle: valid ones are used, all others found out before they are loaded."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pcsr import Bundle, BundleError, EngineError, OutputError
from pcsr.runtime.tensorrt.build import BuildOptions
from pcsr.runtime.tensorrt.library import Library, load_library
from pcsr.runtime.tensorrt.plans import PlanSet, engines_folder, find_fitting, kept_folders
from pcsr.runtime.tensorrt.profiles import ShapeProfile, Shapes
from pcsr.runtime.tensorrt.record import BuildRecord, Facts, graph_hashes, parse_record
from pcsr.runtime.tensorrt.store import BuildRequest, build_command, build_engines, ready_plans
from pcsr.runtime.tensorrt.target import PORTABLE, LocalGpu, Target
from tests.commands import build, snapshot

from .graphs import unsupported_rows

GPU = LocalGpu("NVIDIA GeForce RTX 4090", "8.9")
OLD_GPU = LocalGpu("NVIDIA GeForce RTX 2080", "7.5")
SMALL = BuildRequest(Shapes((1, 1), (8, 8), (16, 16)))


@pytest.fixture
def built(plain: Bundle) -> PlanSet:
    """Valid engines inside the bundle `plain`."""
    return build_engines(plain, "fp32", SMALL)


def ready(bundle: Bundle, **options: Any) -> tuple[PlanSet, list[str]]:  # noqa: ANN401
    """The plans for GPU and what was said."""
    said: list[str] = []
    return ready_plans(bundle, GPU, "fp32", say=lambda text: said.append(text), **options), said


def names(bundle: Bundle) -> list[str]:
    return sorted(name for name in os.listdir(engines_folder(bundle)) if name != ".lock")


def edit_record(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "build.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


# Valid engines


def test_what_is_built_is_kept_with_all_facts(
    plain: Bundle, built: PlanSet, library: Library
) -> None:
    assert names(plain) == [built.folder.name]
    assert sorted(os.listdir(built.folder)) == ["build.json", "network.engine"]
    facts = parse_record((built.folder / "build.json").read_text()).facts
    assert (facts.library, facts.version) == (library.name, library.version)
    assert facts.graphs == graph_hashes(plain, "fp32")
    assert facts.profile == ShapeProfile((1, 1), (8, 8), (16, 16))
    assert built.folder.name.startswith(
        f"portable_tensorrt-rtx-{library.version}_fp32_1x1-8x8-16x16_"
    )


def test_it_is_used_and_not_built_again(plain: Bundle, built: PlanSet) -> None:
    before = snapshot(plain.path)
    plans, said = ready(plain)
    assert plans.plans == built.plans
    assert ready(plain, request=SMALL, rebuild=False)[0].plans == built.plans
    assert build_engines(plain, "fp32", SMALL).plans == built.plans
    assert said == []
    assert snapshot(plain.path) == before


def test_a_bundle_without_engines_gets_them(plain: Bundle) -> None:
    plans, said = ready(plain)
    assert plans.record.facts.profile.max == (1920, 1920)
    assert said[0] == "1/1 network …"
    assert said[1].startswith("1/1 network: ")
    assert ready(plain)[1] == []


def test_every_graph_has_its_engine_and_its_line(carn: Bundle) -> None:
    said: list[str] = []
    plans = build_engines(carn, "fp32", SMALL, say=said.append)
    roles = ["backbone", "classifier", "upsampler_0", "upsampler_1"]
    assert list(plans.plans) == roles
    assert [line for line in said if line.endswith("…")] == [
        f"{number}/4 {role} …" for number, role in enumerate(roles, 1)
    ]


@pytest.mark.parametrize(
    "other",
    [
        replace(SMALL, shapes=Shapes.static((8, 8))),
        replace(SMALL, options=BuildOptions(opt_level=1)),
        replace(SMALL, options=BuildOptions(workspace_mib=64)),
        replace(SMALL, capabilities=("8.9",)),
    ],
    ids=["profile", "opt-level", "workspace", "capability"],
)
def test_other_options_are_other_engines(
    plain: Bundle, built: PlanSet, other: BuildRequest
) -> None:
    newest = build_engines(plain, "fp32", other)
    assert newest.folder != built.folder
    assert names(plain) == sorted([built.folder.name, newest.folder.name])
    assert ready(plain)[0].folder == newest.folder, "the newest is taken"
    assert ready(plain, request=SMALL)[0].folder == built.folder, "unless one is asked for"


def test_force_builds_again(plain: Bundle, built: PlanSet) -> None:
    again = build_engines(plain, "fp32", SMALL, force=True)
    assert again.record.built > built.record.built
    assert names(plain) == [built.folder.name]


# Engines that must not be loaded


def truncate(folder: Path) -> None:
    file = folder / "network.engine"
    file.write_bytes(file.read_bytes()[:-1])


def flip(folder: Path) -> None:
    file = folder / "network.engine"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def rename_away(folder: Path) -> None:
    folder.rename(folder.with_name(folder.name.replace("fp32", "fp16")))


def facts_of(folder: Path, **values: Any) -> None:  # noqa: ANN401
    edit_record(folder, lambda data: data["facts"].update(values))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "network.engine is damaged or foreign: sha256"),
    "flipped": (flip, "network.engine is damaged or foreign: sha256"),
    "emptied": (lambda f: (f / "network.engine").write_bytes(b""), "damaged or foreign"),
    "missing": (lambda f: (f / "network.engine").unlink(), "network.engine cannot be read"),
    "no-record": (lambda f: (f / "build.json").unlink(), "build.json cannot be read"),
    "no-json": (lambda f: (f / "build.json").write_text("{"), "build.json is damaged"),
    "list": (lambda f: (f / "build.json").write_text("[]"), "build.json is damaged"),
    "foreign": (lambda f: edit_record(f, lambda d: d.update(format="x")), "build.json is damaged"),
    "outside": (
        lambda f: edit_record(f, lambda d: d["plans"]["network"].update(file="../x.engine")),
        "build.json is damaged .*no engine",
    ),
    "no-plans": (lambda f: edit_record(f, lambda d: d["plans"].clear()), "no engine"),
    "version": (lambda f: facts_of(f, version="1.6.0.1"), "not of this folder"),
    "gpu": (lambda f: facts_of(f, target={"gpu": "H", "capabilities": []}), "not of this folder"),
    "precision": (lambda f: facts_of(f, precision="fp16"), "not of this folder"),
    "graph": (lambda f: facts_of(f, graphs={"network": "0"}), "not of this folder"),
    "renamed": (rename_away, "not of this folder"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_engines_are_set_aside_and_built_again(
    case: str, plain: Bundle, built: PlanSet
) -> None:
    damage, reason = DAMAGE[case]
    damage(built.folder)
    (found,) = kept_folders(plain)
    damaged = snapshot(found)
    fitting, reasons = find_fitting(plain, load_library(), GPU, "fp32")
    assert fitting is None
    assert len(reasons) == 1
    plans, said = ready(plain, request=SMALL)
    assert plans.folder == built.folder
    assert said[0].startswith(f"set aside as {found.name}.stale-1: ")
    assert_matches(reason, said[0])
    assert names(plain) == sorted([built.folder.name, f"{found.name}.stale-1"])
    assert snapshot(found.with_name(f"{found.name}.stale-1")) == damaged, "nothing is deleted"
    assert ready(plain)[1] == []


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_engines_are_refused_where_rebuilding_is_off(
    case: str, plain: Bundle, built: PlanSet
) -> None:
    damage, reason = DAMAGE[case]
    damage(built.folder)
    before = snapshot(plain.path)
    with pytest.raises(EngineError) as caught:
        ready(plain, rebuild=False)
    assert_matches(reason, str(caught.value))
    assert snapshot(plain.path) == before
    run_the_command_of(caught.value)
    ready(plain, rebuild=False)


def test_a_second_one_is_set_aside_beside_the_first(plain: Bundle, built: PlanSet) -> None:
    for _ in range(2):
        truncate(built.folder)
        ready(plain, request=SMALL)
    key = built.folder.name
    assert names(plain) == [key, f"{key}.stale-1", f"{key}.stale-2"]


def change_graph(bundle: Bundle, with_manifest: bool) -> Bundle:
    """Another network under the same name."""
    entry = bundle.graphs("fp32")["network"]
    file = bundle.path / entry.file
    data = file.read_bytes()
    file.write_bytes(data.replace(b"pcsr.version", b"pcsr.vershun"))
    assert file.read_bytes() != data
    if with_manifest:
        text = (bundle.path / "manifest.json").read_text()
        new = hashlib.sha256(file.read_bytes()).hexdigest()
        (bundle.path / "manifest.json").write_text(text.replace(entry.sha256, new))
    return Bundle.load(bundle.path)


def test_a_changed_graph_makes_engines_stale(plain: Bundle, built: PlanSet) -> None:
    changed = change_graph(plain, with_manifest=True)
    with pytest.raises(EngineError, match=r"was built from other graphs than the bundle's.*run "):
        ready(changed, rebuild=False)
    plans, said = ready(changed)
    assert said[0] == (
        f"set aside as {built.folder.name}.stale-1: was built from other graphs than the bundle's"
    )
    assert plans.record.facts.profile == built.record.facts.profile, "built as the last one was"
    assert plans.record.facts.graphs == graph_hashes(changed, "fp32")


def test_a_graph_that_differs_from_its_manifest(plain: Bundle, built: PlanSet) -> None:
    changed = change_graph(plain, with_manifest=False)
    with pytest.raises(BundleError, match=r"network.onnx is damaged: sha256"):
        ready(changed)


# Engines of other machines


def test_engines_of_another_version_stay_and_are_not_used(plain: Bundle, built: PlanSet) -> None:
    other = disguised(built, version="1.6.0.5")
    with pytest.raises(EngineError, match=r"is for TensorRT-RTX 1\.6\.0\.5, not TensorRT-RTX 1\.7"):
        ready(plain, rebuild=False)
    plans, said = ready(plain)
    assert plans.folder == built.folder
    assert names(plain) == sorted([built.folder.name, other.name])
    assert not [line for line in said if "set aside" in line]


def test_engines_that_this_gpu_cannot_run(plain: Bundle, built: PlanSet) -> None:
    with pytest.raises(EngineError, match=r"is for portable .*from 8\.0.*not .*2080.*7\.5"):
        ready_plans(plain, OLD_GPU, "fp32", rebuild=False)


def disguised(built: PlanSet, **values: Any) -> Path:  # noqa: ANN401
    """The only engines of the bundle, as if they had been built elsewhere."""
    record = replace(built.record, facts=replace(built.record.facts, **values))
    folder = built.folder.with_name(record.facts.key)
    built.folder.rename(folder)
    (folder / "build.json").write_text(record.to_json())
    return folder


H200 = LocalGpu("NVIDIA H200", "9.0")
H100 = LocalGpu("NVIDIA H100", "9.0")
A100 = LocalGpu("NVIDIA A100", "8.0")
COMPATIBLE = BuildOptions(version_compatible=True)


@pytest.mark.parametrize(
    ("version", "gpu", "options", "fits"),
    [
        ("11.4.0.106", H200, BuildOptions(), True),
        ("11.4.0.107", H200, BuildOptions(), False),
        ("11.4.0.106", H100, BuildOptions(), False),
        ("11.4.0.106", H100, BuildOptions(hardware_compatible="same-compute-capability"), True),
        ("11.4.0.106", A100, BuildOptions(hardware_compatible="same-compute-capability"), False),
        ("11.4.0.106", A100, BuildOptions(hardware_compatible="ampere-plus"), True),
        ("11.4.0.106", OLD_GPU, BuildOptions(hardware_compatible="ampere-plus"), False),
        ("11.10.0.1", H200, COMPATIBLE, True),
        ("11.3.0.1", H200, COMPATIBLE, False),
        ("12.0.0.1", H200, COMPATIBLE, False),
    ],
)
def test_which_machine_runs_tensorrt_engines(
    library: Library, version: str, gpu: LocalGpu, options: BuildOptions, fits: bool
) -> None:
    facts = Facts(
        library="tensorrt",
        version="11.4.0.106",
        target=Target("NVIDIA H200", ("9.0",)),
        precision="fp16",
        profile=ShapeProfile((1, 1), (8, 8), (16, 16)),
        options=options,
        graphs={},
    )
    here = replace(library, name="tensorrt", version=version)
    assert (facts.misfit(here, gpu, "fp16") is None) == fits
    assert facts.misfit(here, gpu, "fp32")
    assert facts.misfit(replace(here, name="tensorrt-rtx"), gpu, "fp16")


@pytest.mark.parametrize(
    ("capabilities", "gpu", "serves"),
    [
        ((), GPU, True),
        ((), OLD_GPU, False),
        ((), LocalGpu("NVIDIA GeForce RTX 5090", "12.0"), True),
        (("8.9",), GPU, True),
        (("8.6", "12.0"), GPU, False),
        (("7.5",), OLD_GPU, True),
    ],
)
def test_which_gpu_runs_portable_engines(
    capabilities: tuple[str, ...], gpu: LocalGpu, serves: bool
) -> None:
    assert Target(PORTABLE, capabilities).serves(gpu, None) == serves


def test_every_fact_is_in_the_key(built: PlanSet) -> None:
    facts = built.record.facts
    others = [
        replace(facts, library="tensorrt"),
        replace(facts, version="1"),
        replace(facts, target=Target("NVIDIA H200", ("9.0",))),
        replace(facts, target=Target(PORTABLE, ("9.0",))),
        replace(facts, precision="fp16"),
        replace(facts, profile=replace(facts.profile, rows_max=1)),
        replace(facts, options=COMPATIBLE),
        replace(facts, graphs={"network": "0"}),
    ]
    assert len({other.key for other in [facts, *others]}) == 1 + len(others)
    record = BuildRecord(facts, built.record.plans, "2026", "1")
    assert parse_record(record.to_json()) == record


# The command that a refusal names


def test_a_command_asks_for_what_was_asked_for(plain: Bundle) -> None:
    options = BuildOptions(4, 512, True, "ampere-plus")
    request = BuildRequest(Shapes((1, 2), None, (3, 4)), options, "cuda:1", ("8.9", "12.0"))
    assert build_command(plain, "fp16", request).partition(" --precision ")[2] == (
        "fp16 --min-shape 2x1 --max-shape 4x3 --opt-level 4 --workspace 512 "
        "--version-compatible --hardware-compatible ampere-plus --compute-capability 8.9 "
        "--compute-capability 12.0 --device cuda:1"
    )
    assert build_command(plain, "fp32", BuildRequest()) == (
        f"pcsr-build {shlex.quote(str(plain.path))} --precision fp32"
    )


def test_it_names_the_profile_that_was_built_last(plain: Bundle) -> None:
    built = build_engines(plain, "fp32", replace(SMALL, capabilities=("8.9", "12.0")))
    truncate(built.folder)
    with pytest.raises(EngineError, match=r"--max-shape 16x16.*--compute-capability 8.9") as caught:
        ready(plain, rebuild=False)
    run_the_command_of(caught.value)
    assert ready(plain, rebuild=False)[0].folder == built.folder


# A bundle that cannot be written


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_bundle_runs_but_cannot_be_built_in(plain: Bundle, built: PlanSet) -> None:
    plain.path.chmod(0o500)
    built.folder.parent.chmod(0o500)
    try:
        assert ready(plain)[0].plans == built.plans
        with pytest.raises(OutputError, match=r"cannot write .*Permission denied"):
            build_engines(plain, "fp32", BuildRequest())
    finally:
        plain.path.chmod(0o700)
        built.folder.parent.chmod(0o700)


def test_a_bundle_whose_engines_are_a_file(plain: Bundle) -> None:
    engines_folder(plain).write_text("precious")
    with pytest.raises(OutputError, match=r"cannot write .*engines"):
        ready(plain)
    assert engines_folder(plain).read_text() == "precious"


def test_a_failed_build_leaves_nothing(carn: Bundle) -> None:
    """The last graph is one that the builder refuses."""
    entry = carn.graphs("fp32")["upsampler_1"]
    file = carn.path / entry.file
    file.write_bytes(unsupported_rows(int(entry.inputs[0].shape[-1])))
    text = (carn.path / "manifest.json").read_text()
    new = hashlib.sha256(file.read_bytes()).hexdigest()
    (carn.path / "manifest.json").write_text(text.replace(entry.sha256, new))
    with pytest.raises(EngineError, match="upsampler_1"):
        build_engines(Bundle.load(carn.path), "fp32", SMALL)
    assert names(carn) == []


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), f"{pattern!r} is not in {text!r}"


def run_the_command_of(error: EngineError) -> None:
    command = shlex.split(str(error).rpartition("; run ")[2])
    assert command[0] == "pcsr-build"
    ended = build(*command[1:])
    assert ended.code == 0, ended.stderr
