"""Backgrounds without people: photos, rooms, textures, gradients; distractors wear the people's textures."""

import cv2
import numpy as np

from .paint import Layer
from .photos import photo_crop
from .textures import colour, noise, texture
from .things import add_things

KINDS = (("texture", 0.2), ("room", 0.35), ("photo", 0.3), ("gradient", 0.15))


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    mix = 0.5 + (ramp[None, :] - 0.5) * np.cos(angle) + (ramp[:, None] - 0.5) * np.sin(angle)
    mix = np.clip(mix + rng.uniform(0, 0.5) * noise(rng, size, 4, int(rng.integers(2, 6))), 0, 1)[..., None]
    return colour(rng) * (1 - mix) + colour(rng) * mix


def _floor(rng: np.random.Generator, split: str, size: int, horizon: int) -> np.ndarray:
    """Return a floor in perspective, float32 [size - horizon, size, 3]."""
    tile = texture(rng, split, size)
    depth = (np.arange(size - horizon, dtype=np.float32) + 8) / (size - horizon + 8)
    x = (np.arange(size, dtype=np.float32) - size / 2)[None, :] / depth[:, None] * 0.7 % size
    y = np.repeat((1 / depth * 0.5 * size % size)[:, None], size, 1)
    return cv2.remap(
        tile, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )


def _box(rng: np.random.Generator, size: int) -> np.ndarray:
    wide, tall = rng.uniform(0.06, 0.4, 2) * size
    x, y = rng.uniform(-0.1, 0.95) * size, rng.uniform(-0.1, 0.8) * size
    return np.array([[x, y], [x + wide, y], [x + wide, y + tall], [x, y + tall]])


def _room(rng: np.random.Generator, split: str, size: int) -> np.ndarray:
    """A wall, a floor in perspective, and straight-edged things: frames, windows, shelves, doors, flags."""
    image = np.array(texture(rng, split, size))
    if rng.random() < 0.6:
        horizon = int(rng.uniform(0.55, 0.9) * size)
        image[horizon:] = _floor(rng, split, size, horizon)
    layer = Layer(size)
    for _ in range(rng.integers(1, 6)):
        shape = _box(rng, size)
        layer.fill(shape, colour(rng))
        inside = shape.mean(0) + (shape - shape.mean(0)) * rng.uniform(0.7, 0.95)
        layer.fill(inside, texture(rng, split, size), shade=rng.uniform(0, 0.3))
    if rng.random() < 0.3:  # a flag or a shelf: a stack of stripes in one box
        shape, bands, one, two = _box(rng, size), int(rng.integers(4, 12)), colour(rng), colour(rng)
        for band in range(bands):
            low, high = band / bands, (band + 1) / bands
            rows = shape[0, 1] + (shape[2, 1] - shape[0, 1]) * np.array([low, low, high, high])
            layer.fill(np.stack([shape[:, 0], rows], 1), one if band % 2 else two, shade=0.1)
    return layer.rgb + image * (1 - layer.alpha[..., None])


def render_scene(rng: np.random.Generator, split: str, size: int) -> np.ndarray:
    """Return a background with no person in it, float32 [size, size, 3] RGB in 0..1."""
    kind = str(rng.choice([name for name, _ in KINDS], p=[share for _, share in KINDS]))
    if kind == "texture":
        image = texture(rng, split, size)
    elif kind == "room":
        image = _room(rng, split, size)
    elif kind == "photo":
        image = photo_crop(rng, split, size)
    else:
        image = _gradient(rng, size)
    image = add_things(rng, split, image)
    if rng.random() < 0.4:  # a portrait's background is often out of focus
        image = cv2.GaussianBlur(
            np.ascontiguousarray(image, np.float32), (0, 0), rng.uniform(0.5, 0.02 * size)
        )
        if rng.random() < 0.6:  # but sharp must not mean person
            image = add_things(rng, split, image)
    shading = 1 + rng.uniform(0, 0.5) * noise(rng, size, 1, 2)
    return np.clip(image * shading[..., None] * rng.uniform(0.6, 1.15), 0, 1).astype(np.float32)
