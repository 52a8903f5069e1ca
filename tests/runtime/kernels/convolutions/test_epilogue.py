"""The end of a convolution in the interpreter against PyTorch's operators in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcsr.runtime.kernels.convolutions.epilogue import epilogue

CASES = [  # size, slope, whether something is added
    ((1, 1), 0.1, True),
    ((5, 7), 0.0, True),
    ((5, 7), 0.1, False),
    ((4, 6), 0.1, True),
    ((4, 6), 1.0, False),
]
LAYOUTS = {"last": torch.channels_last, "first": torch.contiguous_format}
INF, NAN = float("inf"), float("nan")


def image(channels: int, size: tuple[int, int], dtype: torch.dtype, layout: str) -> Tensor:
    generator = torch.Generator().manual_seed(channels)
    values = torch.randn(2, channels, *size, generator=generator).to(dtype)
    return values.contiguous(memory_format=LAYOUTS[layout])


def exactly(y: Tensor, bias: Tensor | None, added: Tensor | None, slope: float) -> Tensor:
    """In float32, rounded once."""
    out = y.float()
    out = out if bias is None else out + bias.float()[:, None, None]
    out = out if added is None else out + added.float()
    return F.leaky_relu(out, slope).to(y.dtype)


@pytest.mark.parametrize(
    ("layout", "channels"),
    [*(("last", channels) for channels in (3, 12, 16, 48, 52, 64)), ("first", 3), ("first", 12)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_it_is_float32_arithmetic_rounded_once(
    channels: int, layout: str, dtype: torch.dtype
) -> None:
    for size, slope, adds in CASES:
        y = image(channels, size, dtype, layout)
        bias = torch.linspace(-1, 1.3, channels).to(dtype)
        added = y.flip(0).mul(1.7).contiguous(memory_format=LAYOUTS[layout]) if adds else None
        before = None if added is None else added.clone()
        expected = exactly(y, bias, added, slope)
        assert epilogue(y, bias, added, slope) is y
        assert torch.equal(y, expected), (size, slope, adds)
        assert added is None or before is None or torch.equal(added, before)


def test_two_roundings_would_be_seen() -> None:
    """What the test before this one relies on."""
    y, bias = image(48, (5, 7), torch.float16, "last"), torch.linspace(-1, 1.3, 48).half()
    twice = F.leaky_relu((y + bias[:, None, None]) + y, 0.1)
    assert not torch.equal(exactly(y, bias, y, 0.1), twice)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_programs(layout: str) -> None:
    """The interpreter's blocks hold 8,192 values: several, and a rest that fills none."""
    channels, size = (52, (101, 17)) if layout == "last" else (3, (101, 97))
    y, bias = image(channels, size, torch.float32, layout), torch.linspace(-2, 2, channels)
    expected = exactly(y, bias, None, 0.2)
    assert torch.equal(epilogue(y, bias, None, 0.2), expected)


def test_without_anything_it_is_the_identity() -> None:
    y = image(16, (3, 5), torch.float16, "last")
    assert torch.equal(epilogue(y.clone(memory_format=torch.preserve_format)), y)
    assert epilogue(y[:, :, :0]).numel() == 0


def test_a_bias_of_another_type() -> None:
    y, bias = image(16, (3, 5), torch.float16, "last"), torch.linspace(-1, 1, 16) / 3
    expected = exactly(y, bias, None, 0.0)
    assert torch.equal(epilogue(y, bias, None, 0.0), expected)


@pytest.mark.parametrize(
    ("slope", "expected"),
    [(0.0, [NAN, 0, INF]), (0.1, [NAN, -INF, INF]), (1.0, [NAN, -INF, INF])],
)
def test_what_overflowed_is_as_with_the_operators(slope: float, expected: list[float]) -> None:
    y = torch.tensor([NAN, -INF, INF]).reshape(1, 3, 1, 1)
    found = epilogue(y, torch.ones(3), None, slope).flatten()
    assert torch.equal(found.nan_to_num(7, 8, 9), torch.tensor(expected).nan_to_num(7, 8, 9))


def test_refusals() -> None:
    y = image(16, (3, 5), torch.float16, "last")
    for wrong in (y[:, :, :, ::2], y[:, ::2], y[0], y.double(), y.transpose(2, 3)[:, :, 1:]):
        with pytest.raises(ValueError, match="y: expected an image without gaps, found torch"):
            epilogue(wrong)
    for bias in (torch.zeros(15), torch.zeros(16, 1), torch.zeros(32)[::2]):
        with pytest.raises(ValueError, match=r"bias: expected contiguous \[16\]"):
            epilogue(y, bias)
    for added in (y[:1], y.float(), y.contiguous()):
        with pytest.raises(ValueError, match=r"added: expected it as y \(torch.float16 \[2, 16"):
            epilogue(y, None, added)
