"""A rendered stand-in for Caltech-256: pictures of solids in the official layout, made from a seed alone.

Every image shows one of ten solids on a table, by sphere tracing its signed distance function: no library on PyPI
renders the same bytes without a GL context. Pose, proportions, camera, light, colours and textures are drawn without
regard to the category: only the shape tells the category. The solids are turned and painted little enough, and stand
out enough from the table, that narrow nets learn them within minutes.

Points, directions and colours are float32 arrays of shape (3, n). Every solid fits the unit sphere around the origin,
whose radius is the unit of length. The solid stays where it is; table, camera and light are turned about it.
"""

import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from vgg_ablation.dataset.archive import ROOT_FOLDER

Array = NDArray[np.floating]
Solid = Callable[[Array, Array, Array], Array]  # x, y, z -> signed distance, or a bound below it
Distance = Callable[[Array], Array]  # the same of points (3, n)
Texture = Callable[[Array, Generator], Array]  # points (3, n) -> weight of the second of two colours (n,), 0 to 1

SAMPLE_PER_CATEGORY = 600  # images
SHORT_SIDE = 48, 80  # pixels, both ends included
MAX_ASPECT = 1.2  # of longer images, the crops that nets train on would often miss the solid
PORTRAIT_SHARE = 0.4
GREYSCALE_SHARE = 0.08
SUPERSAMPLING = 2  # rays a pixel, along each side
JPEG_QUALITY = 90
MAX_TILT = 0.1  # radians off the table's normal; in any pose at all, small nets need many more images


def _cross(x: Array, y: Array, z: Array) -> Array:
    x, y, z = np.abs(x), np.abs(y), np.abs(z)
    xy, yz, zx = np.maximum(x, y), np.maximum(y, z), np.maximum(z, x)
    return np.maximum(np.minimum(np.minimum(xy, yz), zx) - 0.25, np.maximum(xy, z) - 0.93)


def _dumbbell(x: Array, y: Array, z: Array) -> Array:
    square, y = x * x + z * z, np.abs(y)
    return np.minimum(np.sqrt(square + (y - 0.6) ** 2) - 0.4, np.maximum(np.sqrt(square) - 0.15, y - 0.6))


SOLIDS: dict[str, Solid] = {
    "ball": lambda x, y, z: np.sqrt(x * x + y * y + z * z) - 1,
    "bowl": lambda x, y, z: np.maximum(np.abs(np.sqrt(x * x + (y - 0.4) ** 2 + z * z) - 0.83) - 0.08, y - 0.4),
    "cone": lambda x, y, z: np.maximum(0.866 * np.sqrt(x * x + z * z) + 0.5 * (y - 1), -0.5 - y),
    "cross": _cross,
    "cube": lambda x, y, z: np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z)) - 0.577,
    "cylinder": lambda x, y, z: np.maximum(np.sqrt(x * x + z * z), np.abs(y)) - 0.7,
    "dumbbell": _dumbbell,
    "octahedron": lambda x, y, z: 0.577 * (np.abs(x) + np.abs(y) + np.abs(z) - 1),
    "pyramid": lambda x, y, z: np.maximum(0.926 * np.maximum(np.abs(x), np.abs(z)) + 0.378 * (y - 1), -0.5 - y),
    "torus": lambda x, y, z: np.sqrt((np.sqrt(x * x + z * z) - 0.7) ** 2 + y * y) - 0.3,
}
CATEGORIES: tuple[str, ...] = tuple(f"{number:03d}.{name}" for number, name in enumerate(SOLIDS, 1))


def _dot(a: Array, b: Array) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(vectors: Array) -> Array:
    return vectors / np.sqrt(_dot(vectors, vectors))


def _turned(matrix: Array, p: Array) -> Array:
    # not `@`: the rounding of BLAS may depend on its number of threads, and the same seed is to give the same bytes
    return np.einsum("ij,jn->in", matrix, p)


def _along(p: Array, rng: Generator) -> Array:
    """Position of each point along a random axis."""
    return _dot(_unit(rng.normal(size=(3, 1)).astype(np.float32)), p)


def _grid(p: Array, rng: Generator) -> Array:
    """The points in a randomly turned lattice, its cells of unit length."""
    return _turned(Rotation.random(rng=rng).as_matrix().astype(np.float32), p) * rng.uniform(1.2, 3)


def _plain(p: Array, rng: Generator) -> Array:
    return (0.5 + 0.1 * _along(p, rng)).clip(0, 1)


def _noise(p: Array, rng: Generator) -> Array:
    waves = (np.sin(rng.uniform(2, 9) * _along(p, rng) + rng.uniform(0, 2 * np.pi)) for _ in range(6))
    return (0.5 + 0.2 * sum(waves, start=np.float32(0))).clip(0, 1)


def _stripes(p: Array, rng: Generator) -> Array:
    return (np.sin(rng.uniform(5, 16) * _along(p, rng)) > rng.uniform(-0.5, 0.5)).astype(np.float32)


def _checker(p: Array, rng: Generator) -> Array:
    x, y, z = np.floor(_grid(p, rng))
    return (x + y + z) % 2


def _spots(p: Array, rng: Generator) -> Array:
    cell = _grid(p, rng)
    cell -= np.round(cell)
    return (_dot(cell, cell) < rng.uniform(0.08, 0.2)).astype(np.float32)


def _wood(p: Array, rng: Generator) -> Array:
    rings = np.hypot(_along(p, rng), _along(p, rng)) + 0.15 * _noise(0.5 * p, rng)
    return rings * rng.uniform(2, 5) % 1


def _patches(p: Array, rng: Generator) -> Array:
    nearest, weight = np.full_like(p[0], np.inf), np.zeros_like(p[0])
    for centre in rng.uniform(-2.5, 2.5, size=(16, 3, 1)).astype(np.float32):
        square = _dot(p - centre, p - centre)
        weight = np.where(square < nearest, np.float32(rng.uniform()), weight)
        nearest = np.minimum(nearest, square)
    return weight


TEXTURES: tuple[Texture, ...] = (_plain, _noise, _stripes, _checker, _spots, _wood, _patches)


def _painted(p: Array, brightness: float, contrast: float, rng: Generator) -> Array:
    """Colours of the points: a random texture of two random colours of about the brightness.

    They differ by up to `contrast` in a channel.
    """
    first = brightness + rng.uniform(-0.25, 0.25, size=(3, 1))
    step = contrast * rng.uniform(-1, 1, size=(3, 1))
    texture = TEXTURES[rng.integers(len(TEXTURES))]
    return first.astype(np.float32) + step.astype(np.float32) * texture(p, rng)


def _stretched(solid: Solid, rng: Generator) -> Distance:
    """The solid with random proportions, still within the unit sphere."""
    scale = rng.uniform(0.75, 1, size=(3, 1)).astype(np.float32)
    return lambda p: solid(*(p / scale)) * scale.min()


def _direction(lean: float, turn: float) -> Array:
    """Direction (3, 1) that leans off the table's normal, the y axis, and is turned about it (radians)."""
    return np.array([[np.sin(lean) * np.cos(turn)], [np.cos(lean)], [np.sin(lean) * np.sin(turn)]], np.float32)


def _camera(height: int, width: int, rng: Generator) -> tuple[Array, Array]:
    """Position (3, 1) of a camera that looks down at the table, and the rays (3, height * width) through its pixels."""
    toward = _direction(rng.uniform(0.7, 1.0), 0)
    slope, size = rng.uniform(0.15, 0.35), rng.uniform(0.8, 1.0)  # of the view and of the unit sphere in it
    v, u = (
        slope * (np.linspace(-side, side, side, dtype=np.float32) / min(height, width) + rng.uniform(-0.15, 0.15))
        for side in (height, width)
    )
    v, u = (axis.ravel() for axis in np.meshgrid(v, u, indexing="ij"))
    x, y, _ = toward
    return toward / (slope * size), _unit(np.stack([y * v - x, -x * v - y, u]))


def _trace(distance: Distance, origins: Array, rays: Array, start: Array, end: Array) -> Array:
    """Length (n,) along each ray from its start to the surface, or beyond its end where it misses."""
    length, active = start.copy(), np.arange(len(start))
    for _ in range(12):
        origin, ray, here = origins.take(active, 1), rays.take(active, 1), length[active]
        for _ in range(2):  # steps of finished rays too, as to drop those takes longer than a step
            here += distance(origin + here * ray)
        gap = distance(origin + here * ray)
        length[active] = here + gap
        active = active[(gap > 1e-3) & (here < end[active])]
    return length


def _seen(distance: Distance, camera: Array, rays: Array) -> tuple[NDArray[np.intp], Array]:
    """Which of the rays meet the solid, and the points where they do."""
    middle = -_dot(camera, rays)
    square = middle**2 - _dot(camera, camera) + 1
    near = np.flatnonzero(square > 0)
    middle, half, rays = middle[near], np.sqrt(square[near]), rays.take(near, 1)
    length = _trace(distance, np.broadcast_to(camera, rays.shape), rays, middle - half, middle + half)
    hit = length < middle + half
    return near[hit], camera + (length * rays).compress(hit, 1)


def _table_height(distance: Distance, pose: Array) -> np.float32:
    """Height of the table that the solid stands on, by rays straight up from below."""
    side = np.linspace(-0.95, 0.95, 24, dtype=np.float32)
    x, z = (axis.ravel() for axis in np.meshgrid(side, side))
    floor = _turned(pose, np.stack([x, np.full_like(x, -1), z]))
    up = np.broadcast_to(pose[:, 1:2], floor.shape)
    return _trace(distance, floor, up, np.zeros_like(x), np.full_like(x, 2)).min() - 1


def _normals(distance: Distance, p: Array) -> Array:
    here, steps = distance(p), np.float32(2e-3) * np.eye(3, dtype=np.float32)
    return _unit(np.stack([distance(p + step[:, None]) - here for step in steps]))


def _visibility(distance: Distance, p: Array, light: Array) -> Array:
    """Share (n,) of a soft light that reaches each point: the closer the ray to it passes by the solid, the less."""
    length = np.full(p.shape[1], 0.06, np.float32)
    share = np.ones_like(length)
    for _ in range(16):
        gap = distance(p + length * light)
        share = np.minimum(share, 6 * gap / length)
        length += gap.clip(0.04)
    return share.clip(0, 1)


def _rendered(solid: Solid, height: int, width: int, rng: Generator) -> Array:
    """Colours (3, height * width) of a random scene around the solid, 0 to 1 but for highlights."""
    distance = _stretched(solid, rng)
    turns = rng.uniform(size=3) * (2 * np.pi, MAX_TILT, 2 * np.pi)
    pose = Rotation.from_euler("YXY", turns).as_matrix().astype(np.float32)
    camera, rays = (_turned(pose, p) for p in _camera(height, width, rng))
    light = _turned(pose, _direction(rng.uniform(0.2, 1.0), rng.uniform(0, 2 * np.pi)))
    up = pose[:, 1:2]

    drop = _table_height(distance, pose) - _dot(camera, up)
    p = camera + drop / _dot(rays, up) * rays
    # One is dark, the other bright, and the table's texture is faint: else small nets do not find the solid's outline.
    of_table, of_solid = rng.permuted([rng.uniform(0.25, 0.45), rng.uniform(0.55, 0.75)])
    colour = _painted(p, of_table, 0.06, rng)
    normal = np.repeat(up, p.shape[1], axis=1)
    seen, surface = _seen(distance, camera, rays)
    p[:, seen], colour[:, seen], normal[:, seen] = (
        surface,
        _painted(surface, of_solid, 0.1, rng),
        _normals(distance, surface),
    )

    direct = _dot(normal, light).clip(0)
    shadow = np.flatnonzero((direct > 0) & (_dot(p, p) - _dot(p, light) ** 2 < 2))  # others pass the solid far off
    direct[shadow] *= _visibility(distance, p.take(shadow, 1), light)
    ambient = rng.uniform(0.25, 0.5)
    colour *= ambient * (0.75 + 0.25 * _dot(normal, up)) + (1.1 - ambient) * direct
    halfway = _unit(light - rays.take(seen, 1))
    shine = _dot(normal.take(seen, 1), halfway).clip(0) ** rng.uniform(8, 60)
    colour[:, seen] += rng.uniform(0, 0.5) * shine * direct[seen]
    return colour


def render_image(category: int, number: int, seed: int) -> Image.Image:
    """Render one picture from these three numbers alone.

    Args:
        category: position in `CATEGORIES`.
        number: which picture of the category, as in its file name.
        seed: seed of the whole sample; not negative.

    Returns:
        An image of mode "RGB", or now and then "L", its shorter side within `SHORT_SIDE` pixels.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, category, number)))
    short = int(rng.integers(*SHORT_SIDE, endpoint=True))
    long = round(short * rng.uniform(1, MAX_ASPECT))
    height, width = (long, short) if rng.random() < PORTRAIT_SHARE else (short, long)
    greyscale = rng.random() < GREYSCALE_SHARE

    fine = height * SUPERSAMPLING, width * SUPERSAMPLING
    colour = _rendered(list(SOLIDS.values())[category], *fine, rng)
    pixels = (255 * colour.clip(0, 1)).astype(np.uint8).reshape(3, *fine)
    image = Image.merge("RGB", [Image.fromarray(channel) for channel in pixels]).reduce(SUPERSAMPLING)
    return image.convert("L") if greyscale else image


def render_sample(images_per_category: int = SAMPLE_PER_CATEGORY, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the sample file by file, in sorted order.

    The pictures of a smaller sample are the first of a larger one in each category. At the default size it takes
    80 seconds of one core; it uses all.

    Args:
        images_per_category: pictures for each of `CATEGORIES`, at most 9999.
        seed: what all pictures are drawn from; not negative.

    Yields:
        The path in the official layout, such as "256_ObjectCategories/001.ball/001_0001.jpg", and the JPEG's bytes.
    """
    places = list(product(range(len(CATEGORIES)), range(1, images_per_category + 1)))

    def jpeg(place: tuple[int, int]) -> bytes:
        file = io.BytesIO()
        render_image(*place, seed).save(file, "JPEG", quality=JPEG_QUALITY)
        return file.getvalue()

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for (category, number), content in zip(places, pool.map(jpeg, places), strict=True):
            folder = CATEGORIES[category]
            yield f"{ROOT_FOLDER}/{folder}/{folder[:3]}_{number:04d}.jpg", content
    finally:
        pool.shutdown(cancel_futures=True)  # whoever cannot use them, as on a full disk, does not wait for the rest
