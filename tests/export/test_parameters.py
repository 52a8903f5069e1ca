"""The count of parameters in the manifest: what training learns, in the form that is exported."""

import json
import shutil
from pathlib import Path

import pytest
from torch import nn

from pcsr.bundle import MANIFEST, Bundle
from pcsr.export.description import count_parameters
from pcsr.export.network import NetworkSettings, build_network
from pcsr.models import make_backbone
from pcsr.models.checkpoint import read_checkpoint
from tests import checkpoints

PUBLISHED = {  # as the paper's tables round them
    "carn-pcsr": 168_970,
    "carn-x4": 294_915,
    "fsrcnn-pcsr": 24_502,
    "fsrcnn-x4": 24_515,
}


def summed(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_manifest_holds_the_sum_of_the_network(carn_like_bundle: Path) -> None:
    found = Bundle.load(carn_like_bundle).manifest.model.parameters
    assert found == summed(checkpoints.pcsr_network("carn"))


def test_and_that_of_a_plain_network(plain_bundle: Path) -> None:
    network = make_backbone("fsrcnn", checkpoints.plain_checkpoint("fsrcnn")["model"]["args"])
    assert Bundle.load(plain_bundle).manifest.model.parameters == summed(network)


def test_collapsible_convolutions_count_as_they_are_exported() -> None:
    args = checkpoints.BACKBONES["imdn"]
    trained, exported = (make_backbone("imdn", {**args, "collapsed": c}) for c in (False, True))
    assert count_parameters(trained) == count_parameters(exported) == summed(exported)
    assert summed(exported) < summed(trained)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name: str, reference: Path) -> None:
    checkpoint = read_checkpoint(reference / "checkpoints" / f"{name}.pth")
    assert count_parameters(build_network(checkpoint, NetworkSettings())) == PUBLISHED[name]


def test_bundles_without_it_load_and_keep_to_that(carn_like_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(carn_like_bundle, tmp_path / "older"))
    data = json.loads((bundle / MANIFEST).read_text())
    del data["model"]["parameters"]
    (bundle / MANIFEST).write_text(json.dumps(data))
    manifest = Bundle.load(bundle).manifest
    assert manifest.model.parameters is None
    assert "parameters" not in json.loads(manifest.to_json())["model"]
