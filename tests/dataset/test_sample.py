"""The rendered sample: same bytes everywhere, the official layout, geometry against closed forms."""

import io
import os
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vgg_ablation.dataset import sample

PER_CATEGORY = 12
UPRIGHT = np.eye(3, dtype=np.float32)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return dict(sample.render_sample(PER_CATEGORY))


@pytest.fixture(scope="module")
def images(files: dict[str, bytes]) -> list[Image.Image]:
    return [Image.open(io.BytesIO(content)) for content in files.values()]


def test_the_layout_is_the_official_one(files: dict[str, bytes]) -> None:
    assert list(files) == [
        f"256_ObjectCategories/{category}/{category[:3]}_{number:04d}.jpg"
        for category in sample.CATEGORIES
        for number in range(1, PER_CATEGORY + 1)
    ]


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "from hashlib import sha256; from vgg_ablation.dataset.sample import render_sample\n"
        "print(sha256(b''.join(data for _, data in render_sample(1, seed=5))).hexdigest())"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "3"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    here = sha256(b"".join(content for _, content in sample.render_sample(1, seed=5))).hexdigest()
    assert other.stdout.strip() == here


def test_a_smaller_sample_is_the_first_images_of_each_category_and_none_is_twice(files: dict[str, bytes]) -> None:
    assert list(sample.render_sample(2)) == [item for item in files.items() if int(item[0][-8:-4]) <= 2]
    other_seed = [content for _, content in sample.render_sample(1, seed=1)]
    assert len({*files.values(), *other_seed}) == len(files) + len(other_seed)


def test_files_are_jpegs_of_the_stated_sizes_mostly_in_colour(images: list[Image.Image]) -> None:
    assert {image.format for image in images} == {"JPEG"}
    modes = Counter(image.mode for image in images)
    assert modes["RGB"] + modes["L"] == len(images)
    assert 0.02 < modes["L"] / len(images) < 0.2  # 8 %, and four standard errors more at the most
    sizes = np.array([image.size for image in images])
    assert 48 <= sizes.min() <= sizes.min(1).max() <= 80 <= sizes.max() <= 1.5 * 80
    assert len(np.unique(sizes, axis=0)) > 0.8 * len(sizes)
    assert 0.4 < (sizes[:, 0] > sizes[:, 1]).mean() < 0.8  # landscape


def recognised_by_colour(colours: np.ndarray) -> float:
    """Share of the images nearest to the mean of their own category, itself without the image in question."""
    groups = colours.reshape(len(sample.CATEGORIES), PER_CATEGORY, -1)
    right = 0
    for category, number in np.ndindex(groups.shape[:2]):
        means = groups.mean(1)
        means[category] = np.delete(groups[category], number, axis=0).mean(0)
        right += np.argmin(((means - groups[category, number]) ** 2).sum(1)) == category
    return right / len(colours)


def test_colour_does_not_give_the_category_away(images: list[Image.Image]) -> None:
    colours = np.array([np.asarray(image.convert("RGB")).mean((0, 1)) for image in images])
    assert recognised_by_colour(colours) < 0.22  # chance is 0.10 with a standard error of 0.03
    leaky = colours + 20 * np.repeat(np.arange(len(sample.CATEGORIES)), PER_CATEGORY)[:, None]
    assert recognised_by_colour(leaky) > 0.22


POINT = arrays(np.float64, 3, elements=st.floats(-2, 2))


@settings(max_examples=30)
@given(name=st.sampled_from(list(sample.SOLIDS)), a=POINT, b=POINT)
def test_distances_never_exceed_the_way_to_the_surface(name: str, a: np.ndarray, b: np.ndarray) -> None:
    """Sphere tracing is exact for functions of slope 1 at most that are positive outside."""
    distance = sample.SOLIDS[name]
    assert abs(distance(*a) - distance(*b)) <= 1.001 * np.linalg.norm(a - b) + 1e-9
    if np.linalg.norm(a) > 1:
        assert distance(*a) > -2e-3, "outside the unit sphere"


def test_a_traced_ball_is_that_of_the_closed_form() -> None:
    def ball(p: sample.Array) -> sample.Array:
        return sample.SOLIDS["ball"](*p)

    camera, rays = sample._camera(60, 80, np.random.default_rng(0))
    seen, points = sample._seen(ball, camera, rays)
    cosine = -(camera * rays).sum(0)  # times the camera's distance
    square = cosine**2 - (camera**2).sum() + 1
    expected = np.flatnonzero(square > 0)
    assert len(np.setxor1d(seen, expected)) <= 0.01 * len(expected)
    closed = camera + (cosine[seen] - np.sqrt(square[seen])) * rays[:, seen]
    np.testing.assert_allclose(points, closed, atol=2e-3)
    np.testing.assert_allclose(sample._normals(ball, points), points, atol=5e-3)
    above_beneath_beside = np.array([[0, 1.0, 0], [0, -1.5, 0], [3, -1.5, 0]], np.float32).T
    light = sample._visibility(ball, above_beneath_beside, UPRIGHT[:, 1:2])
    np.testing.assert_allclose(light, [1, 0, 1], atol=1e-3)
