import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from vgg_ablation.dataset.near_duplicates import LEAST_CONTRAST, WORDS, Hashes, perceptual_hashes


def hashes_of(image: Image.Image) -> Hashes:
    found = perceptual_hashes(np.asarray(image))
    assert found is not None
    return found


def faint(deviation: float) -> np.ndarray:
    """Return an image of two halves whose shades have this standard deviation."""
    pixels = np.full((64, 64, 3), 128 - deviation)
    pixels[:, 32:] += 2 * deviation
    return pixels.astype(np.uint8)


def test_hashes_are_the_librarys(scenes: list[Image.Image]) -> None:
    for scene in scenes:
        bits = np.unpackbits(hashes_of(scene).image.view(np.uint8)).astype(bool)
        assert bits.tolist() == imagehash.phash(scene, hash_size=16).hash.ravel().tolist()


def test_the_mirrored_hash_is_the_librarys_of_the_mirror_image(scenes: list[Image.Image]) -> None:
    """But for a few bits of coefficients that lie at the median: what is mirrored was rescaled first."""
    for scene in scenes:
        bits = np.unpackbits(hashes_of(scene).mirrored.view(np.uint8)).astype(bool)
        assert np.sum(bits != imagehash.phash(ImageOps.mirror(scene), hash_size=16).hash.ravel()) <= 4


def test_hashes_have_256_bits(scenes: list[Image.Image]) -> None:
    found = hashes_of(scenes[0])
    assert found.image.shape == found.mirrored.shape == (WORDS,) == (4,)
    assert found.image.dtype == found.mirrored.dtype == np.uint64


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_an_image_of_one_shade_has_no_hash(shade: int) -> None:
    assert perceptual_hashes(np.full((72, 90, 3), shade, np.uint8)) is None


def test_an_image_of_one_shade_and_the_noise_of_encoding_has_no_hash() -> None:
    noise = np.random.default_rng(0).normal(128, 2, (72, 90, 3))
    assert perceptual_hashes(noise.round().astype(np.uint8)) is None


def test_a_pattern_just_above_the_least_contrast_has_a_hash_and_one_just_below_has_none() -> None:
    assert perceptual_hashes(faint(LEAST_CONTRAST + 1)) is not None
    assert perceptual_hashes(faint(LEAST_CONTRAST - 1)) is None
