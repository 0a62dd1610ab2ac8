"""Mix cached people and scenes into training batches: anyone in front of any scene, cropped, relit, noisy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

EMPTY_SHARE, LATE_SHARE = 0.10, 0.06  # clips with nobody in them; clips whose first frame is still empty


@dataclass
class Batch:
    """Two consecutive frames: `frames` f32 [2, N, 3, S, S] in -1..1, `masks` f32 [2, N, 1, S, S] in 0..1."""

    frames: Tensor
    masks: Tensor


class Mixer:
    """Draws batches from the shards that cache.py wrote; everything random comes from `rng`."""

    def __init__(self, cache: Path, rng: np.random.Generator) -> None:
        self.rng = rng
        self.shards = {
            (what, side): [
                np.load(path, mmap_mode="r") for path in sorted(cache.glob(f"{what}_{side}_???.npy"))
            ]
            for what in ("person", "scene")
            for side in (128, 256)
        }
        if not self.shards["scene", 128]:
            raise FileNotFoundError(f"{cache}: no shards; run cache.py --out {cache} first")
        self.grain = np.random.default_rng(0).standard_normal(1 << 21, np.float32) * 255

    def batch(self, count: int, size: int, first: bool = True) -> Batch:
        """Return `count` random clips of two frames at `size` pixels (sources of 256 pixels when size > 128).

        `first=False` leaves the first frames black: cheaper, for training without previous masks.
        """
        side = 128 if size <= 128 else 256
        frames = np.zeros((2, count, size, size, 3), np.float32)
        masks = np.zeros((2, count, size, size), np.float32)
        for i in range(count):
            self._clip(side, size, frames[:, i], masks[:, i], range(0 if first else 1, 2))
        light = torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
        return Batch(light / 127.5 - 1, torch.from_numpy(masks)[:, :, None])

    def _draw(self, what: str, side: int) -> np.ndarray:
        shards = self.shards[what, side]
        return shards[self.rng.integers(len(shards))][self.rng.integers(len(shards[0]))]

    def _crop(self, side: int, size: int, zoom: float) -> np.ndarray:
        """Return a random zoom-in (never out: no cut edge may show), half of them mirrored, as 2x3 matrix."""
        rng = self.rng
        scale = zoom * size / side
        spare = side * (1 - 1 / zoom)
        left, top = rng.uniform(0, spare), rng.uniform(0, spare)
        flip = -1.0 if rng.random() < 0.5 else 1.0
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
        if flip < 0:
            matrix[0] = [-scale, 0, size - 1 + left * scale]
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 3), 1.0)
        return (np.vstack([turn, [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]]))[:2]

    def _clip(self, side: int, size: int, frames: np.ndarray, masks: np.ndarray, times: range) -> None:
        """Fill `frames` [2, S, S, 3] (0..255) and `masks` [2, S, S] (0..1) of one clip at `times`."""
        rng = self.rng
        scene, person = self._draw("scene", side), self._draw("person", side)
        view = self._crop(side, size, 1 + 0.5 * rng.random())
        pose = self._crop(side, size, 1 + 0.5 * rng.random() ** 2)
        shake = 0.0 if rng.random() < 0.3 else rng.normal(0, 0.012, 2) * size
        relight, draw = self._relight(), rng.random()
        for time in times:
            back = cv2.warpAffine(scene, view, (size, size), borderMode=cv2.BORDER_REFLECT)
            if draw < EMPTY_SHARE or (draw < EMPTY_SHARE + LATE_SHARE and time == 0):
                frames[time] = relight(back)
            else:
                figure = cv2.warpAffine(person[time], pose, (size, size), borderMode=cv2.BORDER_REPLICATE)
                masks[time] = figure[..., 3] * np.float32(1 / 255)
                mixed = figure[..., :3] + back * (1 - masks[time][..., None])
                frames[time] = relight(np.minimum(mixed, 255).astype(np.uint8))
            view[:, 2] += shake
            pose[:, 2] += shake

    def _relight(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return one random change of exposure, contrast, colour cast, saturation, sharpness and noise."""
        rng = self.rng
        ramp = (np.arange(256) / 255) ** np.exp(rng.uniform(-0.4, 0.4)) * rng.uniform(0.7, 1.35)
        table = np.clip(255 * ramp[:, None] * rng.uniform(0.88, 1.14, 3), 0, 255).astype(np.uint8)[None]
        saturation = rng.uniform(0.4, 1.3)
        colours = saturation * np.eye(3) + (1 - saturation) / 3
        soft = rng.random() < 0.15
        noise = rng.uniform(0, 0.04)

        def apply(image: np.ndarray) -> np.ndarray:
            image = cv2.transform(cv2.LUT(image, table), colours)
            if soft:
                image = cv2.blur(image, (3, 3))
            start = rng.integers(self.grain.size - image.size)
            grain = self.grain[start : start + image.size].reshape(image.shape)
            return np.clip(image + noise * grain, 0, 255)

        return apply

    def corrupt(self, masks: Tensor) -> Tensor:
        """Return previous masks f32 [N, 1, S, S] that are wrong in the ways of real ones.

        One in three belongs to another clip (it must be ignored), the others are moved a little; 30 % are
        eroded or dilated.
        """
        rng, size = self.rng, masks.shape[-1]
        source = masks[:, 0].numpy()
        out = np.empty_like(source)
        for i in range(len(source)):
            mask = source[i] if rng.random() > 0.33 else source[rng.integers(len(source))]
            matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 3), 1 + rng.normal(0, 0.04))
            matrix[:, 2] += rng.normal(0, 0.03, 2) * size
            mask = cv2.warpAffine(mask, matrix, (size, size))
            if rng.random() < 0.3:
                kernel = np.ones((int(rng.integers(2, 2 + size // 16)),) * 2, np.uint8)
                mask = cv2.erode(mask, kernel) if rng.random() < 0.5 else cv2.dilate(mask, kernel)
            out[i] = mask
        return torch.from_numpy(out)[:, None]
