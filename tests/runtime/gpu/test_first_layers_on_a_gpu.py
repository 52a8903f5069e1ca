"""The first layers' products by our kernel beside cuBLAS's."""

import pytest
import torch

from tests import tolerances

TOLERANCE = tolerances.CONVOLVED["torch.float16"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
@pytest.mark.parametrize(("depth", "columns"), [(52, 128), (48, 96), (58, 272), (130, 16)])
@pytest.mark.parametrize("rows", [slice(0, 33), slice(5, 6), slice(7, 33)])
def test_they_agree_with_cublas(depth: int, columns: int, rows: slice) -> None:
    from pcsr.runtime.kernels.convolutions.first_layers import first_layers

    generator = torch.Generator("cuda").manual_seed(0)
    features = torch.randn(33, 301, depth, device="cuda", generator=generator).half()
    weight = torch.randn(depth, columns, device="cuda", generator=generator) / depth**0.5
    constant = torch.randn(columns, device="cuda", generator=generator).half()
    expected = features[rows].flatten(0, 1).float() @ weight.half().float() + constant.float()
    found = first_layers(features.permute(2, 0, 1), rows, weight.half(), constant)
    assert found.dtype == torch.float16
    assert found.shape == expected.shape
    assert (found.float() - expected).abs().max() <= TOLERANCE
