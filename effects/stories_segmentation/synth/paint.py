"""Antialiased shapes painted onto a premultiplied RGBA layer."""

import cv2
import numpy as np

_SHIFT = 4  # sub-pixel bits of OpenCV's polygon coordinates


class Layer:
    """A square premultiplied layer, float32 in 0..1: `rgb` [size, size, 3] and `alpha` [size, size]."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rgb = np.zeros((size, size, 3), np.float32)
        self.alpha = np.zeros((size, size), np.float32)

    def fill(
        self,
        points: np.ndarray,
        paint: np.ndarray,
        *,
        opacity: float = 1.0,
        shade: float = 0.0,
        soft: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        matte: bool = True,
    ) -> None:
        """Paint the closed polygon `points` [N, 2] (x, y in pixels) over the layer.

        `paint` is a colour [3] or a texture [size, size, 3], mirrored at its border, moved by `shift` pixels.
        `shade` darkens the rim (0..1, a cheap look of roundness), `soft` blurs the rim (pixels), and
        `matte=False` paints only where the layer is already covered (details on a face).
        """
        margin = int(np.ceil(2 * soft)) + 2
        low = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
        high = np.minimum(np.ceil(points.max(0)).astype(int) + margin, self.size)
        if (high <= low).any():
            return
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        fixed = np.round((points - low) * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SHIFT)
        weight = mask.astype(np.float32) * np.float32(1 / 255)
        if soft > 0:
            weight = cv2.GaussianBlur(weight, (0, 0), soft)
        box = (slice(low[1], high[1]), slice(low[0], high[0]))
        source = paint if paint.ndim == 1 else _window(paint, low, high, shift)
        if shade > 0:
            reach = int(max(3, 0.35 * min(high - low))) | 1
            round_ = cv2.blur(weight, (reach, reach), borderType=cv2.BORDER_REPLICATE)
            source = source * (1 - shade + shade * np.clip(1.25 * round_, 0, 1.15))[..., None]
        weight = weight * np.float32(opacity)
        if not matte:
            weight = weight * self.alpha[box]
        keep = 1 - weight
        self.rgb[box] = self.rgb[box] * keep[..., None] + source * weight[..., None]
        if matte:
            self.alpha[box] = self.alpha[box] * keep + weight


def _window(paint: np.ndarray, low: np.ndarray, high: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    rows = _mirrored(np.arange(low[1], high[1]) - int(shift[1]), paint.shape[0])
    columns = _mirrored(np.arange(low[0], high[0]) - int(shift[0]), paint.shape[1])
    return paint[rows][:, columns]


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """Return `index` folded back into 0..length-1, so that a texture goes on without a seam."""
    index = index % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


def ellipse(centre: tuple[float, float], radius: tuple[float, float], count: int = 24) -> np.ndarray:
    """Return an ellipse as a polygon [count, 2]."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([centre[0] + radius[0] * np.cos(angle), centre[1] + radius[1] * np.sin(angle)], 1)


def limb(start: np.ndarray, end: np.ndarray, start_radius: float, end_radius: float) -> np.ndarray:
    """Return a tapered capsule from `start` to `end` as a convex polygon [N, 2]."""
    both = np.concatenate(
        [ellipse(tuple(start), (start_radius,) * 2, 14), ellipse(tuple(end), (end_radius,) * 2, 14)]
    )
    return cv2.convexHull(both.astype(np.float32))[:, 0]


def smooth(points: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Return the closed polygon `points` [N, 2] with its corners cut `rounds` times (Chaikin 1974)."""
    for _ in range(rounds):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], 1).reshape(-1, 2)
    return points


def mirror(half: np.ndarray) -> np.ndarray:
    """Return the closed polygon whose right half is `half` [N, 2], ordered top to bottom."""
    return np.concatenate([half, half[::-1] * [-1, 1]])
