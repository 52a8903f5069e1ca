"""Pairs of files: matched by name, cut together, and what does not fit is named."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcsr import UsageError
from pcsr.images import Picture, write
from pcsr.metrics import bicubic_resize
from pcsr.training.config import Config, load_config
from pcsr.training.data import Batches, open_source
from pcsr.training.sources import photos as photos_module
from pcsr.training.sources.pairs import PairSource, matched, validation_pairs
from tests.training import tiny


def pairs(folder: Path, sizes: list[tuple[int, int]], mark: str = "") -> tuple[Path, Path]:
    """Folders of originals and of inputs that no degradation makes: their difference shows."""
    random = np.random.default_rng(0)
    roots = (folder / "hr", folder / "lr")
    for root in roots:
        root.mkdir(parents=True)
    for number, (height, width) in enumerate(sizes):
        lr = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        write(Picture(lr), roots[1] / f"{number}{mark}.png")
        hr = 255 - lr.repeat(2, axis=0).repeat(2, axis=1)
        write(Picture(hr), roots[0] / f"{number}.png")
    return roots


def config(
    folder: Path, roots: tuple[Path, Path], *overrides: str, model: dict[str, Any] = tiny.PLAIN
) -> Config:
    args = {"root_path_hr": str(roots[0]), "root_path_lr": str(roots[1])}
    path = tiny.write_config(folder, model)
    dataset = f"train_dataset.dataset={ {'name': 'paired-image-folders', 'args': args} }"
    every = "train_dataset.wrapper.args.sample_q=0"
    return load_config(path, [every, dataset, *overrides])


def check_pairs(config: Config, side: int, batches: int) -> set[bytes]:
    made = Batches(open_source(config.data), config.data, 100, (0,))
    seen: set[bytes] = set()
    for index in range(batches):
        lr, drawn, colours = (part.numpy() for part in made[index])
        assert lr.shape[2:] == (side, side)
        hr = np.empty_like(colours)
        hr[:, drawn] = colours
        expected = 1 - lr.transpose(0, 2, 3, 1).repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_allclose(hr.reshape(expected.shape), expected, atol=1e-6)
        seen.update(part.tobytes() for part in lr)
    return seen


def test_whole_pairs_come_once_in_an_epoch(tmp_path: Path) -> None:
    cut = config(tmp_path, pairs(tmp_path / "pairs", [(9, 9)] * 6))
    whole = replace(cut, data=replace(cut.data, patch_px=(), augment=()))
    assert len(check_pairs(whole, 9, 3)) == 6
    flipped = replace(cut, data=replace(cut.data, patch_px=()))
    assert len(check_pairs(flipped, 9, 30)) > 12


def test_patches_are_cut_at_one_place_of_both_and_flipped_alike(tmp_path: Path) -> None:
    roots = pairs(tmp_path / "pairs", [(9, 20), (30, 11)], mark="x2")
    assert len(check_pairs(config(tmp_path, roots), 8, 10)) == 20


def test_a_pcsr_learns_from_pairs_too(tmp_path: Path) -> None:
    roots = pairs(tmp_path / "pairs", [(9, 20), (30, 11)])
    assert len(check_pairs(config(tmp_path, roots, model=tiny.model(2)), 8, 2)) == 4


def test_names_match_with_and_without_the_scale(tmp_path: Path) -> None:
    roots = pairs(tmp_path, [(4, 4)] * 3, mark="x2")
    (roots[1] / "1x2.png").rename(roots[1] / "1.png")
    assert [tuple(Path(p).name for p in pair) for pair in matched(*roots, 2)] == [
        ("0.png", "0x2.png"),
        ("1.png", "1.png"),
        ("2.png", "2x2.png"),
    ]


def test_partners_that_are_missing_are_named(tmp_path: Path) -> None:
    roots = pairs(tmp_path, [(4, 4)] * 3)
    (roots[1] / "1.png").unlink()
    with pytest.raises(UsageError, match=r"hr/1\.png has no partner: expected 1 or 1x2 in"):
        matched(*roots, 2)
    (roots[0] / "1.png").unlink()
    (roots[0] / "2.png").unlink()
    with pytest.raises(UsageError, match=r"lr/2\.png has no partner in"):
        matched(*roots, 2)
    (roots[0] / "0.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"0\.jpg and .*0\.png have one name"):
        matched(*roots, 2)


@pytest.mark.parametrize("lazy", [False, True])
def test_sizes_that_do_not_fit_the_scale_are_named(
    lazy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = pairs(tmp_path, [(4, 4)] * 3)
    write(Picture(np.zeros((8, 9, 3), np.uint8)), roots[0] / "2.png", overwrite=True)
    if lazy:
        monkeypatch.setattr(photos_module, "MOST_LOOKED_THROUGH", 0)
    message = r"hr/2\.png has 9x8 px; expected 8x8, 2 times those of .*lr/2\.png"
    with pytest.raises(UsageError, match=message):
        PairSource(*roots, 2, whole=True).cut(2, np.random.default_rng(0), None)
    with pytest.raises(UsageError, match=message):
        validation_pairs(*roots, 2, ())


def test_whole_pairs_of_several_sizes_are_refused(tmp_path: Path) -> None:
    source = PairSource(*pairs(tmp_path / "a", [(4, 4), (5, 5)]), 2, whole=True)
    random = np.random.default_rng(0)
    assert source.cut(0, random, None) is not None
    with pytest.raises(UsageError, match=r"1\.png has 5x5 px, the first one 4x4; set .*inp_size"):
        source.cut(1, random, None)
    oblong = PairSource(*pairs(tmp_path / "b", [(4, 5)]), 2, whole=True)
    with pytest.raises(UsageError, match="whole pairs must be square"):
        oblong.cut(0, random, None)


def test_pairs_smaller_than_a_patch_are_refused(tmp_path: Path) -> None:
    source = PairSource(*pairs(tmp_path, [(4, 9)]), 2, whole=False)
    with pytest.raises(UsageError, match=r"lr/0\.png of 9x4 px is smaller than inp_size 5"):
        source.cut(0, np.random.default_rng(0), 5)


def test_pairs_need_a_whole_scale(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"whole scale, found 2\.5"):
        PairSource(*pairs(tmp_path, [(4, 4)]), 2.5, whole=True)


def test_validation_reads_the_inputs_of_pairs(tmp_path: Path) -> None:
    roots = pairs(tmp_path, [(4, 5), (6, 7)])
    for hr, lr in validation_pairs(*roots, 2, ()):
        np.testing.assert_array_equal(hr[::2, ::2], 255 - lr)
    for hr, lr in validation_pairs(roots[0], None, 2, ()):
        np.testing.assert_array_equal(lr, bicubic_resize(hr, *lr.shape[:2]))


def test_originals_that_do_not_fit_leave_no_inputs_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = pairs(tmp_path, [(40, 40)] * 3)
    monkeypatch.setattr(photos_module, "available_bytes", lambda: 3 * 40 * 40 * 3 * 2)
    source = PairSource(*roots, 2, whole=True)
    assert source.reads_files
    assert len(pickle.dumps(source)) < 40 * 40 * 3
