"""Real photographs that ship inside the scikit-image wheel, split into a training and a held-out set."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import skimage

# Sources and licences: the docstrings of `skimage.data`. The demo's photo, `astronaut`, is left out.
PHOTOS = {
    "train": (
        "coffee.png",
        "rocket.jpg",
        "brick.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "coins.png",
    ),
    "heldout": ("chelsea.png", "motorcycle_left.png", "retina.jpg"),
}


@lru_cache(maxsize=32)
def photo(name: str, longest: int = 512) -> np.ndarray:
    """Return photo `name` as uint8 [H, W, 3] RGB, its longest side at most `longest` pixels."""
    path = Path(skimage.__file__).parent / "data" / name
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{path}: not readable; reinstall scikit-image")
    scale = min(1.0, longest / max(image.shape[:2]))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1])


def photo_crop(rng: np.random.Generator, split: str, size: int) -> np.ndarray:
    """Return a random, mirrored, tinted crop of a photo of `split`, float32 [size, size, 3] in 0..1."""
    names = PHOTOS[split]
    image = photo(names[rng.integers(len(names))])
    height, width = image.shape[:2]
    side = int(rng.uniform(0.3, 1.0) * min(height, width))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = image[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    crop = (
        cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_LINEAR).astype(
            np.float32
        )
        / 255
    )
    if rng.random() < 0.4:  # a colour cast, so that one photo does not always bring one colour
        crop = crop * rng.uniform(0.6, 1.3, 3).astype(np.float32)
    return np.clip(crop, 0, 1)
