"""Clips: a scene, a person in front of it, a hand-held camera, sensor noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from .figure import render_person, sample_person
from .scene import render_scene

CANVAS = 256  # everything is painted at this size (2x supersampling for 128-pixel clips)


@dataclass
class Clip:
    """`frames` uint8 [T, size, size, 3] RGB; `masks` uint8 [T, size, size], 255 = person."""

    frames: np.ndarray
    masks: np.ndarray


def layers(rng: np.random.Generator, split: str, frames: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return what a trainer mixes, both uint8: a person [frames, 256, 256, 4] and a scene [256, 256, 3].

    The person is premultiplied RGBA; `split` is "train" or "heldout".
    """
    person = sample_person(rng, split, CANVAS)
    start = rng.uniform(0, 40)
    images = []
    for step in range(frames):
        layer = render_person(person, start + step, CANVAS)
        images.append(np.concatenate([layer.rgb, layer.alpha[..., None]], 2))
    scene = render_scene(rng, split, CANVAS)
    return _to_u8(np.stack(images)), _to_u8(scene)


def make_clip(rng: np.random.Generator, split: str, length: int = 24, size: int = 128) -> Clip:
    """Return a whole clip; 15 % of the clips start empty and the person slides in from the side.

    `split` is "train" or "heldout" (other textures, other photographs), `size` at most 256 pixels.
    """
    person = sample_person(rng, split, CANVAS)
    scene = cv2.copyMakeBorder(render_scene(rng, split, CANVAS), 24, 24, 24, 24, cv2.BORDER_REFLECT)
    late = int(rng.integers(2, max(3, length // 2))) if rng.random() < 0.15 else 0
    side = rng.choice([-1.0, 1.0])
    pan_size, pan_rate, pan_phase = rng.uniform(1, 10, 2), rng.uniform(0.05, 0.3, 2), rng.uniform(0, 6.28, 2)
    grain = rng.uniform(0, 0.03)
    frames, masks = [], []
    for time in range(length):
        pan = pan_size * np.sin(pan_rate * time + pan_phase)
        layer = render_person(person, float(time), CANVAS)
        entering = side * CANVAS * 1.2 * np.clip((late + 4 - time) / 4, 0, 1) if late else 0.0
        move = np.array([[1, 0, pan[0] + entering], [0, 1, pan[1]]], np.float32)
        figure = (
            cv2.warpAffine(np.dstack([layer.rgb, layer.alpha]), move, (CANVAS, CANVAS))
            if entering
            else np.dstack([layer.rgb, layer.alpha])
        )
        view = np.array([[1, 0, -24 + 0.7 * pan[0]], [0, 1, -24 + 0.7 * pan[1]]], np.float32)
        back = cv2.warpAffine(scene, view, (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
        image = figure[..., :3] + back * (1 - figure[..., 3:])
        image = image + grain * rng.standard_normal((CANVAS // 2, CANVAS // 2, 1)).astype(np.float32).repeat(
            2, 0
        ).repeat(2, 1)
        frames.append(cv2.resize(_to_u8(image), (size, size), interpolation=cv2.INTER_AREA))
        masks.append(cv2.resize(_to_u8(figure[..., 3]), (size, size), interpolation=cv2.INTER_AREA))
    return Clip(np.stack(frames), np.stack(masks))


def _to_u8(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
