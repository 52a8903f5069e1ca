"""Folding of LIIF's parts: unfolded features, local ensembles, no base."""

import itertools

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch import Tensor

from pcsr.export.graphs.folding import FoldedBackbone, fold_classifier, fold_upsamplers
from pcsr.export.graphs.onnx_graph import export_graph, graph_sources
from pcsr.models import PCSR, make_backbone
from pcsr.models.liif import UpsamplerSpec, pixel_centres
from pcsr.runtime.geometry.grid import Grid

SIZE, SCALE = (7, 5), 3.0
PARTS = list(itertools.product((1, 4), ("bilinear", "none"), (False, True), (False, True)))


def network(*specs: UpsamplerSpec) -> PCSR:
    torch.manual_seed(0)
    backbone = make_backbone("srresnet", {"nf": 6, "nb": 1, "no_upsampling": True})
    classifier = (5,) if len(specs) > 1 else None
    return PCSR(backbone, specs, classifier, (0.4, 0.5, 0.6), (0.5, 0.6, 0.7)).eval()


@torch.no_grad()
def folded_outputs(model: PCSR, image: Tensor) -> list[Tensor]:
    """What the folded MLPs of the upsamplers give for all output pixels, [H*W, 3] each."""
    mlps = fold_upsamplers(model)
    others = [fold_classifier(model)] if len(mlps) > 1 else []
    features, *maps = FoldedBackbone(model, [*others, *mlps])(image)
    grid = Grid.make(SIZE, SCALE)
    assert features.shape[2:] == SIZE
    found = []
    for mlp, rows in zip(mlps, maps[len(others) :], strict=True):
        index, offset = grid.locate(np.arange(grid.pixels), mlp.neighbours)
        where = (torch.from_numpy(index), torch.from_numpy(offset), torch.from_numpy(grid.cell))
        found.append(mlp(rows, *where))
    return found


@torch.no_grad()
def expected_outputs(model: PCSR, image: Tensor) -> list[Tensor]:
    """The same from the model: residuals times std, colours with the mean as well."""
    height, width = (round(n * SCALE) for n in SIZE)
    query = pixel_centres((height, width)).view(1, -1, 2)
    cell = torch.tensor([2 / height, 2 / width])
    features = model.encoder((image - model.mean) / model.std)
    found = []
    for upsampler in model.upsamplers:
        mean = model.mean.flatten() if upsampler.spec.base == "none" else 0
        found.append(upsampler(features, query, cell)[0] * model.std.flatten() + mean)
    return found


@pytest.mark.parametrize(("neighbours", "base", "unfold", "cell"), PARTS)
def test_a_folded_upsampler_is_the_upsampler(
    neighbours: int, base: str, unfold: bool, cell: bool
) -> None:
    model = network(UpsamplerSpec((8, 8), neighbours, base, unfold, cell))  # type: ignore[arg-type]
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        folded_outputs(model, image), expected_outputs(model, image), atol=2e-6, rtol=1e-5
    )


def test_upsamplers_of_one_network_may_differ() -> None:
    specs = [
        UpsamplerSpec((8, 8), 4, "none", unfold=True),
        UpsamplerSpec((7,), 1, "bilinear", unfold=True),
        UpsamplerSpec((), 4, "bilinear", cell=False),
    ]
    model = network(*specs)
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        folded_outputs(model, image), expected_outputs(model, image), atol=2e-6, rtol=1e-5
    )


def test_features_of_an_unfolding_network_are_its_first_layer() -> None:
    model = network(UpsamplerSpec((8, 8), 4, "none", unfold=True))
    (mlp,) = fold_upsamplers(model)
    image = torch.rand(1, 3, *SIZE)
    features, rows = FoldedBackbone(model, [mlp])(image)
    assert features.shape == (1, 8, *SIZE)
    assert torch.equal(rows, features.flatten(2)[0].t())
    plain = model.encoder((image - model.mean) / model.std)
    first = model.upsamplers[0].imnet.layers[0].weight[:, :-4]  # type: ignore[index]
    windows = torch.nn.functional.unfold(plain, 3, padding=1)[0]
    torch.testing.assert_close(rows, (first @ windows).t(), atol=1e-6, rtol=1e-5)


def test_the_graph_of_a_pixel_without_areas_is_a_mean() -> None:
    """Where all four areas are zero (the last row at x5, in float32), what is added to them counts:
    PyTorch's exporter leaves out numbers that small.
    """
    model = network(UpsamplerSpec((8,), 4, "none"))
    (source,) = [s for s in graph_sources(model) if s.role == "upsampler_0"]
    session = InferenceSession(export_graph(source, 20).SerializeToString())
    random = np.random.default_rng(0)
    rows = random.normal(size=(3, 8)).astype(np.float32)
    inputs = {
        "features": rows,
        "index": np.array([[0, 1, 2, 0]], np.int32),
        "offset": np.zeros((1, 4, 2), np.float32),
        "cell": np.ones(2, np.float32),
    }
    with torch.no_grad():
        expected = source.module(*(torch.from_numpy(value) for value in inputs.values()))
    (found,) = session.run(None, inputs)
    assert torch.isfinite(expected).all()
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
