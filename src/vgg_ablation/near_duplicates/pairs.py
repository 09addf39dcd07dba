"""All pairs of hashes that differ in few bits: hundreds of millions of comparisons in seconds, in bounded memory."""

from collections.abc import Iterator

import numpy as np

ROWS = 64
"""Hashes that are compared with all others at once: with 30,000 hashes, 15 MB of differences."""


def close_pairs(hashes: np.ndarray, mirrored: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield the pairs of images at most `most` bits apart, block by block of `ROWS` first images.

    The distance of images i < j is that of hash i from hash j or from mirrored hash j, whichever is smaller.

    Args:
        hashes: of N images, (N, words) uint64.
        mirrored: of their mirror images, (N, words) uint64.
        most: bits.

    Yields:
        (pairs, 3) int64, ascending: i, j and their distance in bits.
    """
    for start in range(0, len(hashes), ROWS):
        rows, later = hashes[start : start + ROWS], (hashes[start:], mirrored[start:])
        # A part of two hashes differs in no more bits than the whole, and in most pairs in too many already.
        near = [np.bitwise_count(rows[:, None, 0] ^ others[None, :, 0]) <= most for others in later]
        first, second = np.nonzero(np.triu(near[0] | near[1], k=1))
        whole = [np.bitwise_count(rows[first] ^ others[second]).sum(axis=1, dtype=np.int64) for others in later]
        distance = np.minimum(*whole)
        yield np.stack([start + first, start + second, distance], axis=1)[distance <= most]
