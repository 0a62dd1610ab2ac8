"""Things that are no people but wear their colours and stand where they stand: distractors."""

import numpy as np

from .head import HAIR, skin_tone
from .paint import Layer, ellipse, limb, mirror, smooth
from .textures import colour, texture


def _paint(rng: np.random.Generator, split: str, size: int) -> np.ndarray:
    """Return cloth, skin, hair or a plain colour."""
    choice = rng.integers(5)
    if choice == 0:
        return skin_tone(rng)
    if choice == 1:
        return HAIR[rng.integers(len(HAIR))]
    return texture(rng, split, size) if choice == 2 else colour(rng)


def _blob(rng: np.random.Generator, split: str, layer: Layer, centre: np.ndarray, radius: float) -> None:
    wobble = 1 + rng.uniform(0.05, 0.3) * rng.normal(size=(10, 1))
    shape = ellipse((0, 0), (radius, radius * rng.uniform(0.5, 2)), 10) * wobble
    layer.fill(smooth(shape + centre, 2), _paint(rng, split, layer.size), shade=0.3)


def _pole(rng: np.random.Generator, split: str, layer: Layer, centre: np.ndarray, radius: float) -> None:
    end = centre + rng.normal(0, 0.4, 2) * layer.size
    thick = rng.uniform(0.1, 0.4) * radius
    layer.fill(
        limb(centre, end, thick, thick * rng.uniform(0.4, 1)), _paint(rng, split, layer.size), shade=0.3
    )


def _ball(rng: np.random.Generator, split: str, layer: Layer, centre: np.ndarray, radius: float) -> None:
    """A ball, a lamp or a helmet: round, glossy, with a rim."""
    shape = (radius * rng.uniform(0.8, 1.3), radius * rng.uniform(0.8, 1.3))
    layer.fill(ellipse(tuple(centre), (shape[0] * 1.12, shape[1] * 1.12)), colour(rng), shade=0.2)
    layer.fill(ellipse(tuple(centre), shape), _paint(rng, split, layer.size), shade=0.5)
    for _ in range(rng.integers(1, 4)):
        spot = centre + rng.uniform(-0.6, 0.6, 2) * shape
        glint = ellipse(tuple(spot), tuple(rng.uniform(0.05, 0.3, 2) * radius), 12)
        layer.fill(
            glint, np.ones(3, np.float32), opacity=rng.uniform(0.3, 1), soft=rng.uniform(0.3, 2), matte=False
        )


def _totem(rng: np.random.Generator, split: str, layer: Layer, centre: np.ndarray, radius: float) -> None:
    """A rocket, a lamp, a vase, a statue: 2-6 mirrored segments on an upright axis."""
    top = centre[1] - radius * rng.uniform(1, 2.5)
    for _ in range(rng.integers(2, 7)):
        tall = radius * rng.uniform(0.3, 1.4)
        profile = np.stack([radius * rng.uniform(0.05, 0.7, 4), np.linspace(0, tall, 4)], 1)
        shape = mirror(profile) if rng.random() < 0.4 else smooth(mirror(profile), 2)
        layer.fill(
            shape + np.array([centre[0], top]), _paint(rng, split, layer.size), shade=rng.uniform(0, 0.4)
        )
        top += tall * rng.uniform(0.6, 1)


def _plant(rng: np.random.Generator, _split: str, layer: Layer, centre: np.ndarray, radius: float) -> None:
    green = np.array([0.15, 0.4, 0.12]) * rng.uniform(0.5, 1.8, 3)
    for angle in rng.uniform(-1.3, 1.3, 7):
        tip = centre + 2 * radius * np.array([np.sin(angle), -np.cos(angle)])
        layer.fill(limb(centre, tip, 0.18 * radius, 0.04 * radius), green * rng.uniform(0.7, 1.2), shade=0.3)


def _drape(rng: np.random.Generator, split: str, layer: Layer, _centre: np.ndarray, _radius: float) -> None:
    """A flag or a curtain that hangs at one side, with vertical folds."""
    size = layer.size
    x = np.arange(size, dtype=np.float32)[None, :] / size
    y = np.arange(size, dtype=np.float32)[:, None] / size
    folds = np.sin(x * rng.uniform(20, 90) + y * rng.uniform(-4, 4) + rng.uniform(0, 6))
    family = str(rng.choice(["stripe", "flat", "plaid"]))
    cloth = texture(rng, split, size, family) * (1 + rng.uniform(0.1, 0.4) * folds)[..., None]
    wide, side = rng.uniform(0.08, 0.4) * size, rng.choice([-1, 1])
    edge = np.array(
        [[0, -2], [wide * rng.uniform(0.3, 1), -2], [wide, size * rng.uniform(0.4, 1.2)], [0, size + 2]]
    )
    if side > 0:
        edge[:, 0] = size - edge[:, 0]
    layer.fill(edge, np.clip(cloth, 0, 1).astype(np.float32))


def _table(rng: np.random.Generator, split: str, layer: Layer, centre: np.ndarray, _radius: float) -> None:
    """A table, a sofa or a pedestal that fills the picture's lower edge."""
    size = layer.size
    wide, top = rng.uniform(0.1, 0.6) * size, rng.uniform(0.55, 0.95) * size
    shape = np.array([[-wide, top], [wide, top], [wide * rng.uniform(0.8, 1.2), size + 2], [-wide, size + 2]])
    if rng.random() < 0.4:
        shape = smooth(shape, 2)
    layer.fill(shape + np.array([centre[0], 0]), _paint(rng, split, size), shade=rng.uniform(0, 0.3))


KINDS = (_blob, _pole, _ball, _totem, _totem, _plant, _drape, _table)


def add_things(rng: np.random.Generator, split: str, image: np.ndarray) -> np.ndarray:
    """Return `image` float32 [size, size, 3] with 0-4 things painted over it."""
    size = image.shape[0]
    layer = Layer(size)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 4])):
        kind = KINDS[rng.integers(len(KINDS))]
        kind(rng, split, layer, rng.uniform(0.05, 0.95, 2) * size, rng.uniform(0.03, 0.17) * size)
    return layer.rgb + image * (1 - layer.alpha[..., None])
