"""Every name of TensorRT that the code uses is there in 10.16, in 11.4 and in TensorRT-RTX."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcsr.runtime import tensorrt
from pcsr.runtime.tensorrt.library import Library

from .names import CLASSES, HERE

SOURCES = sorted(Path(tensorrt.__file__).resolve().parent.glob("*.py"))
SAME = "SAME_COMPUTE_CAPABILITY"
VERSIONS = ("10.16", "11.4")
RTX_ONLY = {
    "ComputeCapability",
    "DynamicShapesKernelSpecializationStrategy",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "DynamicShapesKernelSpecializationStrategy.LAZY",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IExecutionContext.is_stream_capturable",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.set_runtime_cache",
}
# What the code calls objects of TensorRT, wherever it has one.
OBJECTS = {
    "builder": "Builder",
    "cache": "ITimingCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "_engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "ranges": "IOptimizationProfile",
    "runtime": "Runtime",
    "_runtime_cache": "IRuntimeCache",
    "runtime_cache": "IRuntimeCache",
    "runtime_config": "IRuntimeConfig",
}
# Others' objects that have such a name too, and their members.
OURS = {
    "config.USE_TENSORRT_RTX",
    "engine.empty",
    "engine.refusal",
    "engine.run",
    "tensor.data_ptr",
}


def used_names() -> set[str]:
    """`Class.member` or `name`, for `trt.…` and for what the objects above are asked for."""
    names = {name for file in SOURCES for name in _names(ast.parse(file.read_text()))}
    levels = (f"HardwareCompatibilityLevel.{member}" for member in ("AMPERE_PLUS", SAME))
    return {name for name in names if not name.endswith("__")} | set(levels)


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        chain = _chain(node) if isinstance(node, ast.Attribute) else []
        if "trt" in chain[:-1]:
            yield ".".join(chain[chain.index("trt") + 1 :])
        elif len(chain) > 1 and chain[-2] in OBJECTS and ".".join(chain[-2:]) not in OURS:
            yield f"{OBJECTS[chain[-2]]}.{chain[-1]}"


def _chain(node: ast.AST) -> list[str]:
    """a.b.c -> [a, b, c]; what is not a name is left out."""
    if isinstance(node, ast.Attribute):
        return [*_chain(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def test_the_walk_finds_names() -> None:
    used = used_names()
    assert {"ProfilingVerbosity.DETAILED", "Runtime", "BuilderFlag.TF32"} <= used
    assert {
        "Builder.build_serialized_network",
        "IBuilderConfig.set_timing_cache",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.execute_async_v3",
        "INetworkDefinition.unmark_output",
        "OnnxParser.parse",
        "Runtime.deserialize_cuda_engine",
    } <= used
    assert set(OBJECTS.values()) <= set(CLASSES)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_is_in_tensorrt(version: str) -> None:
    known = set((HERE / f"names-{version}.txt").read_text().split())
    assert used_names() - RTX_ONLY - known == set()


def test_every_name_is_in_tensorrt_rtx(library: Library) -> None:
    missing = []
    for path in used_names() | RTX_ONLY:
        try:
            functools.reduce(getattr, path.split("."), library.trt)
        except AttributeError:
            missing.append(path)
    assert missing == []


def test_names_that_were_removed_are_not_known() -> None:
    known = set((HERE / "names-11.4.txt").read_text().split())
    assert not known & {"BuilderFlag.FP16", "IInt8Calibrator", "ICudaEngine.device_memory_size"}
    assert "BuilderFlag.FP16" in (HERE / "names-10.16.txt").read_text().split()
