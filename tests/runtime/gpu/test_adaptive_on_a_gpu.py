"""Both ways to count difficulties on a GPU give the same thresholds."""

import pytest
import torch

from pcsr.runtime.routing.adaptive import BINS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU"),
]


@pytest.mark.parametrize("upsamplers", [2, 3])
@pytest.mark.parametrize("pixels", [2**20, 3_000_001])
def test_the_thresholds_are_the_same(
    upsamplers: int, pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pcsr.runtime.kernels import adaptive, adaptive_bounds

    generator = torch.Generator("cuda").manual_seed(0)
    shape = (1 if upsamplers == 2 else upsamplers, pixels)
    logits = 3 * torch.randn(shape, generator=generator, device="cuda") - 1
    found = []
    for form in adaptive.FORMS:
        monkeypatch.setattr(adaptive, "FORMS", (form,))
        out = torch.zeros(upsamplers - 1, device="cuda")
        adaptive_bounds(logits, upsamplers, out)
        found.append(out)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=4 / BINS)
    assert (found[0] > 0).all()
    assert (found[0] < 1).all()
