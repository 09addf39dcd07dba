"""A rendered stand-in for Caltech-256: one shaded solid a photograph, in the official layout, from a seed alone.

Every image shows one of ten solids on a table, by sphere tracing a signed distance function. Pose, proportions, camera, light,
colours and textures are drawn without regard to the category, so that nothing but the shape tells the categories apart.

Points and directions are float32 arrays of shape (3, n). A solid fits the unit sphere around the origin; lengths are in
units of that radius.
"""

import io
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

Array = NDArray[np.float32]
Solid = Callable[[Array, Array, Array], Array]
Distance = Callable[[Array], Array]
Texture = Callable[[Array, np.random.Generator], Array]

ROOT = "256_ObjectCategories"
GREYSCALE_SHARE = 0.08
JPEG_QUALITY = 90
SHORT_SIDE = (75, 140)
MAX_ASPECT = 1.5
SUPERSAMPLING = 2
MAX_TILT = 1.0


# Solids: signed distances (lower bounds, which are enough for sphere tracing) of shape (n,) from points of shape (3, n).


def _ball(x: Array, y: Array, z: Array) -> Array:
    return np.sqrt(x * x + y * y + z * z) - 1


def _bowl(x: Array, y: Array, z: Array) -> Array:
    y = y - 0.4
    return np.maximum(np.abs(np.sqrt(x * x + y * y + z * z) - 0.83) - 0.08, y)


def _cone(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(0.866 * np.sqrt(x * x + z * z) + 0.5 * (y - 1), -0.5 - y)


def _cross(x: Array, y: Array, z: Array) -> Array:
    x, y, z = np.abs(x), np.abs(y), np.abs(z)
    xy, yz, zx = np.maximum(x, y), np.maximum(y, z), np.maximum(z, x)
    return np.maximum(np.minimum(np.minimum(xy, yz), zx) - 0.25, np.maximum(xy, z) - 0.93)


def _cube(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z)) - 0.577


def _cylinder(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(np.sqrt(x * x + z * z), np.abs(y)) - 0.7


def _dumbbell(x: Array, y: Array, z: Array) -> Array:
    square, y = x * x + z * z, np.abs(y)
    return np.minimum(np.sqrt(square + (y - 0.6) ** 2) - 0.4, np.maximum(np.sqrt(square) - 0.15, y - 0.6))


def _octahedron(x: Array, y: Array, z: Array) -> Array:
    return 0.577 * (np.abs(x) + np.abs(y) + np.abs(z) - 1)


def _pyramid(x: Array, y: Array, z: Array) -> Array:
    return np.maximum(0.926 * np.maximum(np.abs(x), np.abs(z)) + 0.378 * (y - 1), -0.5 - y)


def _torus(x: Array, y: Array, z: Array) -> Array:
    return np.sqrt((np.sqrt(x * x + z * z) - 0.7) ** 2 + y * y) - 0.3


SOLIDS: dict[str, Solid] = {
    "ball": _ball,
    "bowl": _bowl,
    "cone": _cone,
    "cross": _cross,
    "cube": _cube,
    "cylinder": _cylinder,
    "dumbbell": _dumbbell,
    "octahedron": _octahedron,
    "pyramid": _pyramid,
    "torus": _torus,
}
CATEGORIES: tuple[str, ...] = tuple(f"{number:03d}.{name}" for number, name in enumerate(SOLIDS, 1))


# Textures: a weight in 0..1 for each point, of shape (n,). The table and the solid draw from the same ones.


def _along(p: Array, rng: np.random.Generator) -> Array:
    """Position along a random axis."""
    return _apply(_unit(rng.normal(size=(1, 3)), axis=1), p)[0]


def _plain(p: Array, rng: np.random.Generator) -> Array:
    return 0.1 * _along(p, rng).clip(-5, 5) + 0.5


def _noise(p: Array, rng: np.random.Generator) -> Array:
    waves = [np.sin(rng.uniform(2, 9) * _along(p, rng) + rng.uniform(0, 2 * np.pi)) for _ in range(7)]
    return (0.5 + 0.2 * np.sum(waves, axis=0)).clip(0, 1)


def _stripes(p: Array, rng: np.random.Generator) -> Array:
    return (np.sin(rng.uniform(5, 16) * _along(p, rng)) > rng.uniform(-0.5, 0.5)).astype(np.float32)


def _checker(p: Array, rng: np.random.Generator) -> Array:
    turned = _apply(_rotation(rng), p) * rng.uniform(1.2, 3)
    return np.floor(turned).sum(0) % 2


def _spots(p: Array, rng: np.random.Generator) -> Array:
    turned = _apply(_rotation(rng), p) * rng.uniform(1.2, 3)
    return (((turned - np.round(turned)) ** 2).sum(0) < rng.uniform(0.08, 0.2)).astype(np.float32)


def _wood(p: Array, rng: np.random.Generator) -> Array:
    rings = np.hypot(_along(p, rng), _along(p, rng)) + 0.15 * _noise(0.5 * p, rng)
    return (rings * rng.uniform(2, 5)) % 1


def _patches(p: Array, rng: np.random.Generator) -> Array:
    centres = rng.uniform(-2.5, 2.5, size=(20, 3, 1)).astype(np.float32)
    nearest = np.argmin([((p - centre) ** 2).sum(0) for centre in centres], axis=0)
    return rng.uniform(size=len(centres)).astype(np.float32)[nearest]


TEXTURES: tuple[Texture, ...] = (_plain, _noise, _stripes, _checker, _spots, _wood, _patches)


# Geometry. The solid stays where it is; table, camera and light are turned about it.


def _unit(vectors: NDArray, axis: int = 0) -> Array:
    return (vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)).astype(np.float32)


def _rotation(rng: np.random.Generator) -> Array:
    return Rotation.random(rng=rng).as_matrix().astype(np.float32)


def _apply(matrix: Array, p: Array) -> Array:
    """Matrix times points, without BLAS, whose rounding may depend on its number of threads."""
    return np.einsum("ij,jn->in", matrix, p)


def _tilted(angle: float, turn: float) -> Array:
    """Direction (3, 1) that lies `angle` radians off the y axis, turned about it by `turn` radians."""
    direction = np.sin(angle) * np.cos(turn), np.cos(angle), np.sin(angle) * np.sin(turn)
    return np.array(direction, np.float32)[:, None]


def _stretched(solid: Distance, rng: np.random.Generator) -> Distance:
    """The solid with random proportions, still within the unit sphere."""
    scale = rng.uniform(0.75, 1, size=(3, 1)).astype(np.float32)
    shortest = scale.min()
    return lambda p: solid(*(p / scale)) * shortest


def _trace(distance: Distance, origins: Array, directions: Array, start: Array) -> Array:
    """Lengths (n,) along rays to the solid's surface, of no meaning where a ray misses it."""
    length = start
    for _ in range(32):
        length = length + distance(origins + length * directions)
    return length


def _normals(distance: Distance, p: Array) -> Array:
    steps = np.float32(2e-3) * np.eye(3, dtype=np.float32)[:, :, None]
    here = distance(p)
    return _unit(np.stack([distance(p + step) - here for step in steps]))


def _visibility(distance: Distance, p: Array, light: Array) -> Array:
    """Share (n,) of a soft light that reaches each point: the closer a ray passes by the solid, the less."""
    length = np.full(p.shape[1], 0.06, np.float32)
    share = np.ones_like(length)
    for _ in range(16):
        gap = distance(p + length * light)
        share = np.minimum(share, 6 * gap / length)
        length = length + gap.clip(0.04)
    return share.clip(0, 1)


def _rays(height: int, width: int, rng: np.random.Generator, lean: float):
    """Camera position (3, 1) and unit directions (3, height * width)."""
    half_angle = rng.uniform(0.15, 0.35)
    size = rng.uniform(0.7, 0.95)
    extent = np.array([height, width]) / min(height, width)
    shift = rng.uniform(-0.2, 0.2, size=2)
    v = np.linspace(-extent[0], extent[0], height) + shift[0]
    u = np.linspace(-extent[1], extent[1], width) + shift[1]
    toward = _tilted(lean, 0)
    down = np.cross(toward[:, 0], [0, 0, 1])[:, None]
    right = np.array([[0], [0], [1]])
    grid_v, grid_u = (half_angle * axis.ravel() for axis in np.meshgrid(v, u, indexing="ij"))
    return (toward / (half_angle * size)).astype(np.float32), _unit(grid_u * right + grid_v * down - toward)


def _paint(p: Array, contrast: float, rng: np.random.Generator) -> Array:
    """Colours of the points, shape (3, n): a random texture through a ramp of three random colours."""
    weight = TEXTURES[rng.integers(len(TEXTURES))](p, rng)
    base = rng.uniform(0.3, 0.9) + rng.uniform(-0.25, 0.25, size=3)
    ramps = base[:, None] + contrast * rng.uniform(-0.5, 0.5, size=(3, 3))
    return np.stack([np.interp(weight, (0, 0.5, 1), ramp) for ramp in ramps]).astype(np.float32)


def render_scene(solid: Distance, height: int, width: int, rng: np.random.Generator) -> Array:
    distance = _stretched(solid, rng)
    pose = (
        Rotation.from_euler("YXY", rng.uniform(size=3) * (2 * np.pi, MAX_TILT, 2 * np.pi))
        .as_matrix()
        .astype(np.float32)
    )
    camera, rays = _rays(height, width, rng, rng.uniform(0.2, 0.8))
    camera, rays, up = _apply(pose, camera), _apply(pose, rays), pose[:, 1:2]
    light = _apply(pose, _tilted(rng.uniform(0.2, 1), rng.uniform(0, 2 * np.pi)))

    side = np.linspace(-0.95, 0.95, 24, dtype=np.float32)
    x, z = (axis.ravel() for axis in np.meshgrid(side, side))
    below = _apply(pose, np.stack([x, np.full_like(x, -1), z]))
    table = _trace(distance, below, up, np.zeros_like(x)).min() - 1

    p = camera + (table - (camera * up).sum()) / (rays * up).sum(0).clip(None, -0.15) * rays
    normal = np.repeat(up, p.shape[1], axis=1)
    colour = _paint(p, 0.3, rng)

    facing = (camera * rays).sum(0)
    gap = facing**2 - (camera**2).sum() + 1
    near = np.flatnonzero(gap > 0)
    length = _trace(distance, camera, rays[:, near], -facing[near] - np.sqrt(gap[near]))
    found = camera + length * rays[:, near]
    hit = distance(found) < 4e-3
    found, near = found[:, hit], near[hit]
    p[:, near] = found
    normal[:, near] = _normals(distance, found)
    colour[:, near] = _paint(found, 0.5, rng)

    lit = (normal * light).sum(0).clip(0)
    shaded = np.flatnonzero((lit > 0) & ((p * p).sum(0) - (p * light).sum(0) ** 2 < 2))
    lit[shaded] *= _visibility(distance, p[:, shaded], light)
    ambient = rng.uniform(0.25, 0.5)
    sky = 0.75 + 0.25 * (normal * up).sum(0)
    colour *= ambient * sky + (1.1 - ambient) * lit
    shine = (normal[:, near] * _unit(light - rays[:, near])).sum(0).clip(0) ** rng.uniform(8, 60)
    colour[:, near] += rng.uniform(0, 0.5) * shine * (lit[near] > 0)
    return colour.reshape(3, height, width)


def render_image(category: int, number: int, seed: int) -> Image.Image:
    rng = np.random.default_rng([seed, category, number])
    short = int(rng.integers(*SHORT_SIDE, endpoint=True))
    long = int(short * rng.uniform(1, MAX_ASPECT))
    height, width = (short, long) if rng.random() < 0.6 else (long, short)
    solid = list(SOLIDS.values())[category]
    scene = render_scene(solid, SUPERSAMPLING * height, SUPERSAMPLING * width, rng)
    pixels = (255 * scene.clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels)).reduce(SUPERSAMPLING)
    return image.convert("L") if rng.random() < GREYSCALE_SHARE else image


def render_sample(images_per_category: int = 100, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    for category, folder in enumerate(CATEGORIES):
        for number in range(1, images_per_category + 1):
            buffer = io.BytesIO()
            render_image(category, number, seed).save(buffer, "JPEG", quality=JPEG_QUALITY)
            yield f"{ROOT}/{folder}/{folder[:3]}_{number:04d}.jpg", buffer.getvalue()
