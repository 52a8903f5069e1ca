"""Every graph runs unmodified in polygraphy, the vendor's tool for looking at graphs."""

from pathlib import Path

import numpy as np
import pytest

from pcsr import Bundle

BUNDLES = ["carn_like_bundle", "three_way_bundle", "single_bundle", "imdn_bundle", "plain_bundle"]


@pytest.mark.parametrize("name", BUNDLES)
def test_every_graph_runs(name: str, request: pytest.FixtureRequest) -> None:
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
    from polygraphy.comparator import Comparator, DataLoader

    bundle = Bundle.load(request.getfixturevalue(name))
    path: Path = bundle.path
    for graphs in bundle.manifest.graphs.values():
        for graph in graphs.values():
            runner = OnnxrtRunner(SessionFromOnnx(str(path / graph.file)))
            data = DataLoader(iterations=1, val_range={"index": (0, 0), "": (0.0, 1.0)})
            results = Comparator.run([runner], data_loader=data)
            outputs = results[0][1][0]
            assert set(outputs) == {tensor.name for tensor in graph.outputs}
            assert all(np.isfinite(values).all() for values in outputs.values())
