import numpy as np
import pytest

from pcsr.calibration.precision.weights.moments import collect_moments
from tests.calibration.precision.nets import CHANNELS, Net, image, values


@pytest.mark.parametrize("group", [1, 4])
def test_moments_are_those_of_what_each_pixel_reads(group: int) -> None:
    model = Net().conv("image", "a", 3).conv("a", "out", group=group).build()
    images = [image(17, 23, 1), image(9, 12, 2)]
    found = collect_moments(model, images, 1)["node_out"]
    each = CHANNELS // group
    for g in range(group):
        patches = []
        for x in images:
            a = values(model, ["a"], x)["a"][0]
            a = np.pad(a, ((0, 0), (1, 1), (1, 1)))[g * each : (g + 1) * each]
            for top in range(0, x.shape[2], 4):
                for left in range(0, x.shape[3], 4):
                    patches.append(a[:, top : top + 3, left : left + 3].ravel())
        rows = np.array(patches, np.float64)
        np.testing.assert_allclose(found.mean[g], rows.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(found.covariance[g], np.cov(rows.T, bias=True), atol=1e-5)
