"""A selection of the tests, with the library and the program compiled with sanitizers.

`make test` runs AddressSanitizer and UndefinedBehaviorSanitizer; PCSR_SANITIZERS=all, as `make
libpcsr-test` sets it, ThreadSanitizer, too, which is another build.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcsr import Bundle

from . import building, test_calls, test_equality, test_formats
from .driver import Driver

FAULTS = {
    "memory": "int main(int n, char **a) { (void)a; char *p = malloc(n); return p[n]; }",
    "overflow": "int main(int n, char **a) { (void)a; return (0x7fffffff + n) != 0; }",
    "race": "static int n; static void *f(void *p) { n++; return p; }\n"
    "int main(void) { pthread_t t; pthread_create(&t, 0, f, 0); n++;"
    " pthread_join(t, 0); return 0; }",
}
CASES = ["no input", "no output", "negative height", "overlapping rows", "size of the options"]


@pytest.fixture(scope="module", params=[*building.SANITIZERS])
def sanitizer(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == building.THREAD and os.environ.get("PCSR_SANITIZERS") != "all":
        pytest.skip(f"{name}: make libpcsr-test runs it")
    return name


@pytest.fixture(scope="module")
def sanitized(
    sanitizer: str, onnxruntime_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Driver]:
    """A process of the C program, which a sanitizer ends where it finds something."""
    program = building.program("driver", sanitizer)
    env = {**os.environ, **building.SANITIZERS[sanitizer]}
    folder = tmp_path_factory.mktemp(sanitizer)
    with Driver(program, onnxruntime_library, folder, env) as started:
        yield started


def test_images(
    sanitized: Driver,
    carn_like_bundle: Path,
    three_way_bundle: Path,
    plain_bundle: Path,
    liif_bundle: Path,
) -> None:
    for bundle in (carn_like_bundle, three_way_bundle, plain_bundle, liif_bundle):
        for size in ((1, 1), (23, 31)):
            test_equality.test_sizes_and_scales(bundle, size, sanitized)
        test_equality.test_alpha(bundle, sanitized)
        test_equality.test_tiles(bundle, 16, sanitized)
    for options in test_equality.OPTIONS:
        if Bundle.load(three_way_bundle).upsamplers > 1:
            test_equality.test_routing(three_way_bundle, options, sanitized)
            test_equality.test_routing(carn_like_bundle, options, sanitized)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_forms(dtype: str, sanitized: Driver, carn_like_bundle: Path) -> None:
    for channels in (1, 2, 3, 4):
        test_formats.test_any_form_of_either_image(dtype, channels, carn_like_bundle, sanitized)
    for form in test_formats.FORMS:
        test_formats.test_rows_without_a_whole_output(form, carn_like_bundle, sanitized)


def test_what_is_refused(sanitized: Driver, carn_like_bundle: Path, tmp_path: Path) -> None:
    for case in CASES:
        test_calls.test_arguments_are_refused(case, carn_like_bundle, sanitized)
    test_calls.test_values_of_float_images(carn_like_bundle, sanitized)
    test_calls.test_bundles_that_are_none(carn_like_bundle, tmp_path, sanitized)
    test_calls.test_other_libraries_are_no_onnxruntime(carn_like_bundle, tmp_path, sanitized)


def test_many_threads(
    sanitizer: str, sanitized: Driver, carn_like_bundle: Path, plain_bundle: Path
) -> None:
    for opening in ({}, {"executor": "threads"}, {"threads": 1}):
        test_calls.test_eight_threads_call_one_handle(opening, carn_like_bundle, sanitized)
    test_calls.cancel_from_another_thread(sanitized, carn_like_bundle, (60, 70))
    if sanitizer != building.THREAD:  # under which ONNX Runtime takes minutes for larger images
        test_calls.test_rows_cancel_runs(carn_like_bundle, plain_bundle, sanitized)
        test_calls.test_the_callers_executor_does_the_work(carn_like_bundle, sanitized)


def test_the_header_for_cxx(
    sanitizer: str, carn_like_bundle: Path, onnxruntime_library: Path
) -> None:
    program = building.program("header", sanitizer)
    done = subprocess.run(
        [program, carn_like_bundle, onnxruntime_library],
        env={**os.environ, **building.SANITIZERS[sanitizer]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("fault", FAULTS)
def test_sanitizers_see_faults(fault: str, tmp_path: Path) -> None:
    """A program with one ends otherwise than well, as it is compiled here."""
    sanitizer = building.THREAD if fault == "race" else building.MEMORY
    source = tmp_path / "fault.c"
    source.write_text(f"#include <pthread.h>\n#include <stdlib.h>\n{FAULTS[fault]}\n")
    flags = (f"-fsanitize={sanitizer}", "-fno-sanitize-recover=undefined", "-pthread", "-g")
    building.run("cc", *flags, source, "-o", tmp_path / "fault")
    env = {**os.environ, **building.SANITIZERS[sanitizer]}
    done = subprocess.run([tmp_path / "fault"], env=env, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"fault.c" in done.stderr
