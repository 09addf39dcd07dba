import io
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
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
def images(files) -> Sequence[Image.Image]:
    decoded = [Image.open(io.BytesIO(data)) for data in files.values()]
    for image in decoded:
        image.load()
    return decoded


def test_layout_is_the_official_one(files):
    assert list(files) == sorted(files)
    folders = Counter()
    for path in files:
        root, rest = path.split("/", 1)
        assert root == "256_ObjectCategories"
        assert re.search(r"^\d{3}\.[a-z0-9-]+/\d{3}_\d{4}\.jpg$", rest)
        folder, file = rest.split("/")
        assert file[:3] == folder[:3]
        folders[folder] += 1
        assert int(file[4:8]) == folders[folder]
    assert folders == dict.fromkeys(sample.CATEGORIES, PER_CATEGORY)


def test_same_seed_gives_the_same_bytes_in_another_process():
    code = (
        "from hashlib import sha256; from vgg_ablation.dataset.sample import render_sample\n"
        "print(sha256(b''.join(data for _, data in render_sample(1, seed=5))).hexdigest())"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "3"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    here = sha256(b"".join(data for _, data in sample.render_sample(1, seed=5))).hexdigest()
    assert other.stdout.strip() == here


def test_smaller_sample_is_a_prefix_of_each_category(files):
    assert list(sample.render_sample(2)) == [item for item in files.items() if int(item[0][-8:-4]) <= 2]


def test_no_two_images_are_identical(files):
    other_seed = [data for _, data in sample.render_sample(1, seed=1)]
    assert len({*files.values(), *other_seed}) == len(files) + len(other_seed)


def test_files_are_jpegs_mostly_in_colour(images):
    assert {image.format for image in images} == {"JPEG"}
    modes = Counter(image.mode for image in images)
    assert set(modes) == {"RGB", "L"}
    assert 0.02 < modes["L"] / len(images) < 0.2  # 8 %, and four standard errors more at the most


def test_sizes_vary_within_the_stated_range(images):
    sizes = np.array([image.size for image in images])
    assert sizes.min() >= 75
    assert sizes.min(1).max() <= 140
    assert sizes.max() <= 1.5 * 140
    assert len(np.unique(sizes, axis=0)) > 0.9 * len(sizes)
    landscape = (sizes[:, 0] > sizes[:, 1]).mean()
    assert 0.4 < landscape < 0.8


def _recognised_by_colour(colours: np.ndarray) -> float:
    """Share of the images nearest to the mean of their own category, itself without the image in question."""
    groups = colours.reshape(len(sample.CATEGORIES), PER_CATEGORY, -1)
    right = 0
    for category, number in np.ndindex(groups.shape[:2]):
        means = groups.mean(1)
        means[category] = np.delete(groups[category], number, axis=0).mean(0)
        right += np.argmin(((means - groups[category, number]) ** 2).sum(1)) == category
    return right / len(colours)


def test_colour_does_not_give_the_category_away(images):
    colours = np.array([np.asarray(image.convert("RGB")).mean((0, 1)) for image in images])
    assert _recognised_by_colour(colours) < 0.22  # chance is 0.10 with a standard error of 0.03
    leaky = colours + 20 * np.repeat(np.arange(len(sample.CATEGORIES)), PER_CATEGORY)[:, None]
    assert _recognised_by_colour(leaky) > 0.22


POINT = arrays(np.float64, 3, elements=st.floats(-2, 2))


@given(name=st.sampled_from(list(sample.SOLIDS)), a=POINT, b=POINT)
def test_distances_never_exceed_the_way_to_the_surface(name, a, b):
    """Sphere tracing is exact for functions of slope 1 at most that are positive outside."""
    distance = sample.SOLIDS[name]
    assert abs(distance(*a) - distance(*b)) <= 1.001 * np.linalg.norm(a - b) + 1e-9
    length = np.linalg.norm(a)
    if length > 1:
        assert distance(*a) > -2e-3, "outside the unit sphere"


def test_traced_ball_equals_the_closed_form():
    camera, rays = sample._camera(60, 80, np.random.default_rng(0))
    seen, points = sample._seen(lambda p: sample.SOLIDS["ball"](*p), camera, rays)
    cosine = -(camera * rays).sum(0)  # times the camera's distance
    square = cosine**2 - (camera**2).sum() + 1
    expected = np.flatnonzero(square > 0)
    assert len(np.setxor1d(seen, expected)) <= 0.01 * len(expected)
    closed = camera + (cosine[seen] - np.sqrt(square[seen])) * rays[:, seen]
    np.testing.assert_allclose(points, closed, atol=2e-3)
    np.testing.assert_allclose(sample._normals(lambda p: sample.SOLIDS["ball"](*p), points), points, atol=5e-3)


@pytest.mark.parametrize(("name", "lowest"), [("ball", -1), ("cube", -(3**-0.5)), ("pyramid", -0.5), ("torus", -0.3)])
def test_solid_stands_on_the_table(name, lowest):
    height = sample._table_height(lambda p: sample.SOLIDS[name](*p), UPRIGHT)
    assert height == pytest.approx(lowest, abs=0.01)


def test_light_reaches_the_top_and_not_the_shadow_of_a_ball():
    points = np.array([[0, 1.0, 0], [0, -1.5, 0], [3, -1.5, 0]], np.float32).T
    share = sample._visibility(lambda p: sample.SOLIDS["ball"](*p), points, UPRIGHT[:, 1:2])
    np.testing.assert_allclose(share, [1, 0, 1], atol=1e-3)


def test_camera_never_sees_past_the_table():
    short, long = 75, round(75 * sample.MAX_ASPECT)
    for seed in range(300):
        camera, rays = sample._camera(long, short, np.random.default_rng(seed))
        assert camera[1] > 1
        assert rays[1].max() < 0
