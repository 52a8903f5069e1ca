"""The emulated GPU gives what a GPU gives, and finds what a GPU leaves undefined."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.kernels.cuda.emulated import EmulatedKernel, EmulationError

PRODUCT = Path(__file__).with_name("product.cu")


def product(
    rows: int = 16, skip: int = 0, checked: bool = True, **defines: object
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 16, 16)).astype(np.float16)
    out = np.full((16, 16), np.nan, np.float32)
    kernel = EmulatedKernel(PRODUCT, "product", defines, checked)
    _, _, c = kernel.launch((1, 1, 1), 64, 1024, a, b, out, rows, skip, 0.5)
    valid = (np.arange(16) < rows)[:, None]
    expected = np.where(valid, a, 0).astype(np.float64) @ np.where(valid, b, 0).T * 0.5
    return c, expected


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("rows", [16, 5])
def test_a_product(rows: int, checked: bool) -> None:
    found, expected = product(rows, checked=checked)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (1, "is read by warp . and written at line 14 by warp"),
        (2, "copy in flight, issued at line 14"),
        (3, "ends without copy_async_wait"),
    ],
)
def test_what_is_missing_is_found(missing: int, message: str) -> None:
    with pytest.raises(EmulationError, match=message):
        product(MISSING=missing)


def test_a_copy_out_of_an_array_is_found() -> None:
    with pytest.raises(EmulationError, match="byte 512 of array 0, which has 512 bytes"):
        product(skip=8)


def run(tmp_path: Path, body: str, out: np.ndarray[Any, Any], threads: int = 64) -> Any:  # noqa: ANN401
    source = tmp_path / "kernel.cu"
    source.write_text(
        'extern "C" __global__ void kernel(unsigned* out) {\n'
        "const unsigned m = shared_begin(), t = threadIdx.x; (void)m; (void)t;\n"
        f"{body}\n}}"
    )
    return EmulatedKernel(source, "kernel").launch((2, 1, 1), threads, 1024, out)[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (  # written after another warp has read it
            "shared_store_u32(m + 4 * t, t); __syncthreads();"
            "if (t > 31) out[t] = shared_load_u32(m + 4 * (t - 32));\n"
            "else shared_store_u32(m + 4 * t, 0);",
            "written by warp 0 and read at line 3 by another warp",
        ),
        ("shared_store_u32(m + 4 * (t % 32), t);", "written by warp 1 and written at line 3"),
        ("if (t != 5) __syncthreads();", "diverged: .*thread 5 is at the end of the kernel"),
        ("if (t != 5) __syncwarp();", "diverged: .*thread 5 is at the end of the kernel"),
        ("if (t != 5) __syncthreads();\nelse __syncthreads();", "diverged: .*thread 5 .* line 4"),
        ("if (t > 5) __syncwarp();\nelse __syncwarp();", "diverged: .*line 4.*line 3"),
        ("unsigned r[4]; ldmatrix_x4(r, m + 8);", "shared byte 8 is not a multiple of 16"),
        ("unsigned r[4]; ldmatrix_x4(r, m + 1024);", "byte 1024 of shared memory"),
        ("out[t] = load_16(out + 64).x;", "byte 256 of array 0"),
        ("out[t + 1] = 0;", "heap-buffer-overflow"),
        ("int x = (int)t + 2147483647; out[t] = (unsigned)x;", "signed integer overflow"),
    ],
)
def test_faults_are_found(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(EmulationError, match=message):
        run(tmp_path, body, np.zeros(64, np.uint32))


def test_threads_exchange_through_shared_memory(tmp_path: Path) -> None:
    body = """
    for (unsigned step = 1; step < 4; ++step) {
        shared_store_u32(m + 4 * t, t * step + blockIdx.x);
        __syncthreads();
        out[blockIdx.x * 64 + t] += shared_load_u32(m + 4 * (63 - t));
        __syncthreads();
    }"""
    found = run(tmp_path, body, np.zeros((2, 64), np.uint32))
    np.testing.assert_array_equal(found, (63 - np.arange(64)) * 6 + 3 * np.arange(2)[:, None])


def test_shared_memory_starts_as_nan(tmp_path: Path) -> None:
    body = "out[blockIdx.x * 32 + t] = shared_load_u32(m + 4 * t); shared_store_u32(m + 4 * t, 1);"
    found = run(tmp_path, body, np.zeros(64, np.uint32), threads=32)
    assert (found == 0xFFFFFFFF).all()


def test_halves_are_those_of_numpy(tmp_path: Path) -> None:
    every = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (every[:-1] + every[1:]) / 2
    sizes = np.concatenate([every, ties, np.array([1e-9, 65519, 65520, 1e30, np.inf], np.float32)])
    values = np.resize(np.concatenate([sizes, -sizes]), 2 * len(sizes) // 64 * 64 + 64)
    source = tmp_path / "halves.cu"
    source.write_text(
        'extern "C" __global__ void halves(const float* in, unsigned* bits, float* back) {\n'
        "const unsigned i = blockIdx.x * 64 + threadIdx.x;\n"
        "bits[i] = pack_half2(in[i], 1.0f); back[i] = unpack_half2(bits[i]).x; }"
    )
    kernel = EmulatedKernel(source, "halves", checked=False)
    bits, back = np.zeros(len(values), np.uint32), np.zeros_like(values)
    _, bits, back = kernel.launch((len(values) // 64, 1, 1), 64, 0, values, bits, back)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(bits, expected.view(np.uint16) | np.uint32(0x3C000000))
    np.testing.assert_array_equal(back, expected.astype(np.float32))
