"""Lists the public names of a version of TensorRT, from its Python bindings alone.

    pip download --no-deps --dest . tensorrt-cu13-bindings==11.4.0.106
    python -m tests.runtime.tensorrt.names tensorrt_cu13_bindings-11.4.0.106-*.whl

writes names-11.4.txt beside this file. The bindings import without TensorRT when libraries of its
names are there; gcc makes empty ones.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
CLASSES = (
    "Builder",
    "BuilderFlag",
    "DataType",
    "EngineInspector",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "ILayer",
    "ILogger",
    "ILogger.Severity",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
)
LIST = """
import functools, sys
import tensorrt_bindings as trt
names = [name for name in dir(trt) if not name.startswith("_")]
for path in sys.argv[1:]:
    found = functools.reduce(lambda of, name: getattr(of, name, ()), path.split("."), trt)
    members = [name for name in dir(found) if found and not name.startswith("_")]
    names += [f"{path}.{name}" for name in members]
print("\\n".join(sorted(set(names))))
"""


def list_names(wheel: Path) -> list[str]:
    """Names of the module, and of the members of CLASSES as `Class.member`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zipfile.ZipFile(wheel).extractall(folder)
        major = wheel.name.split("-")[1].split(".")[0]
        _make_libraries(folder, major)
        environment = os.environ | {"LD_LIBRARY_PATH": name, "PYTHONPATH": name}
        command = [sys.executable, "-c", LIST, *CLASSES]
        done = subprocess.run(
            command, env=environment, cwd=folder, check=True, capture_output=True, text=True
        )
        return done.stdout.split()


def _make_libraries(folder: Path, major: str) -> None:
    (folder / "empty.c").write_text("".join(f"void *{s}(void) {{ return 0; }}\n" for s in SYMBOLS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        options = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run(["gcc", *options, str(folder / "empty.c")], check=True)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        version = ".".join(Path(argument).name.split("-")[1].split(".")[:2])
        lines = list_names(Path(argument))
        (HERE / f"names-{version}.txt").write_text("\n".join(lines) + "\n")
