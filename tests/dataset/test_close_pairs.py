import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgg_ablation.dataset import near_duplicates as pairs_module
from vgg_ablation.dataset.near_duplicates import ROWS, close_pairs


def found_in(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> list[tuple[int, ...]]:
    return [tuple(row) for block in close_pairs(hashes, mirrored, most) for row in block.tolist()]


def one_by_one(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> list[tuple[int, ...]]:
    """Return what `close_pairs` finds, by Python's integers."""

    def bits(words: np.ndarray) -> int:
        return int.from_bytes(words.tobytes())

    close = []
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            distance = min((bits(hashes[i]) ^ bits(other)).bit_count() for other in (hashes[j], mirrored[j]))
            if distance <= most:
                close.append((i, j, distance))
    return close


@given(
    count=st.integers(0, 40), flipped=st.integers(0, 12), most=st.integers(0, 24), rows=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_block_by_block_is_as_one_by_one(count: int, flipped: int, most: int, rows: int, seed: int) -> None:
    """All hashes are variations of three, so that many pairs are close, some at exactly `most` bits."""
    rng = np.random.default_rng(seed)
    models = rng.integers(0, 2**64, (3, 4), np.uint64)

    def varied() -> np.ndarray:
        bits = rng.permuted(np.arange(256) < flipped + np.zeros((count, 1)), axis=1)
        return models[rng.integers(0, 3, count)] ^ np.packbits(bits, axis=1).view(np.uint64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_module, "ROWS", rows)
        hashes, mirrored = varied(), varied()
        assert found_in(hashes, mirrored, most) == one_by_one(hashes, mirrored, most)


def test_a_pair_is_found_across_blocks() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, (3 * ROWS, 4), np.uint64)
    mirrored = ~hashes
    hashes[2 * ROWS + 1] = hashes[0] ^ np.array([1, 0, 0, 2**63], np.uint64)
    mirrored[ROWS] = hashes[5]
    assert found_in(hashes, mirrored, 20) == [(0, 2 * ROWS + 1, 2), (5, ROWS, 0)]


def test_an_image_is_no_pair_with_its_own_mirror_image() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, (9, 4), np.uint64)
    assert found_in(hashes, hashes, 20) == []


def test_no_hashes_make_no_pairs() -> None:
    nothing = np.empty((0, 4), np.uint64)
    assert found_in(nothing, nothing, 20) == []
