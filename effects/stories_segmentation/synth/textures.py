"""Procedural textures: every function returns float32 [size, size, 3] RGB in 0..1."""

import colorsys

import cv2
import numpy as np

from .photos import photo_crop

# `chevron` and `cells` never appear in training: they are the held-out texture families.
FAMILIES = {
    "train": ("flat", "flat", "noise", "noise", "stripe", "plaid", "dots", "brick", "photo"),
    "heldout": ("flat", "noise", "stripe", "plaid", "chevron", "cells", "photo"),
}


def colour(rng: np.random.Generator) -> np.ndarray:
    """Return a random RGB colour, float32 [3]; greys, whites and blacks are as frequent as hues."""
    if rng.random() < 0.4:
        grey = rng.uniform(0.03, 0.97)
        return np.clip(grey + rng.normal(0, 0.03, 3), 0, 1).astype(np.float32)
    hue, saturation, value = rng.random(), rng.beta(2, 2), rng.uniform(0.15, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def noise(rng: np.random.Generator, size: int, octaves: int = 4, base: int = 3) -> np.ndarray:
    """Return fractal noise, float32 [size, size], roughly in -1..1."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = min(size, base << octave)
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR) / (1 << octave)
    return total * 0.6


def _axes(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rotated pixel coordinates (u, v), each float32 [size, size], in pixels."""
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def _blend(mask: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return one + (two - one) * mask[..., None]


def _pattern(rng: np.random.Generator, size: int, family: str) -> np.ndarray:
    """Return the 0..1 mixing mask of a two-colour pattern, float32 [size, size]."""
    u, v = _axes(rng, size)
    period = rng.uniform(0.03, 0.16) * size
    duty = rng.uniform(0.25, 0.7)
    if family == "stripe":
        return ((u / period) % 1 < duty).astype(np.float32)
    if family == "plaid":
        return 0.5 * (((u / period) % 1 < duty).astype(np.float32) + ((v / period) % 1 < duty))
    if family == "dots":
        du, dv = (u / period) % 1 - 0.5, (v / period) % 1 - 0.5
        return (du * du + dv * dv < (0.5 * duty) ** 2).astype(np.float32)
    if family == "brick":
        row = np.floor(v / period)
        joint = ((v / period) % 1 < 0.1) | ((u / period / 2 + 0.5 * (row % 2)) % 1 < 0.05)
        return joint.astype(np.float32)
    if family == "chevron":
        fold = np.abs((u / period / 2) % 1 - 0.5) * 2
        return ((v / period + fold) % 1 < duty).astype(np.float32)
    if family == "cells":
        points = rng.uniform(0, size, (24, 2)).astype(np.float32)
        half = np.arange(0, size, 2, dtype=np.float32)
        distance = np.sqrt(
            (half[None, :, None] - points[:, 0]) ** 2 + (half[:, None, None] - points[:, 1]) ** 2
        )
        nearest = np.sort(distance, axis=2)
        edge = np.clip((nearest[..., 1] - nearest[..., 0]) / (0.04 * size), 0, 1)
        return cv2.resize(edge.astype(np.float32), (size, size))
    raise ValueError(f"texture family {family!r} is unknown; known: {FAMILIES}")


def texture(rng: np.random.Generator, split: str, size: int, family: str | None = None) -> np.ndarray:
    """Return a random texture of `split` ("train" or "heldout"), float32 [size, size, 3] in 0..1."""
    family = family or str(rng.choice(FAMILIES[split]))
    if family == "photo":
        return photo_crop(rng, split, size)
    one, two = colour(rng), colour(rng)
    if family == "flat":
        image = np.broadcast_to(one, (size, size, 3))
    elif family == "noise":
        image = _blend(np.clip(0.5 + noise(rng, size, 5, int(rng.integers(2, 12))), 0, 1), one, two)
    else:
        image = _blend(_pattern(rng, size, family), one, two)
    grain = 1 + rng.uniform(0.02, 0.2) * noise(rng, size, 3, int(rng.integers(2, 24)))
    return np.clip(image * grain[..., None], 0, 1).astype(np.float32)
