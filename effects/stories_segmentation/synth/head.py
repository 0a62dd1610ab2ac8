"""A procedural head: skin, features, hair, glasses, hats; lengths in head heights, its centre is 0, 0."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from .paint import Layer, ellipse, mirror, smooth
from .textures import colour, noise

SKIN = (
    np.array(  # a ramp of skin tones from light to dark, sRGB
        [
            [250, 222, 204],
            [241, 200, 170],
            [229, 180, 145],
            [212, 158, 120],
            [186, 128, 92],
            [150, 98, 66],
            [112, 70, 48],
            [74, 47, 35],
        ],
        np.float32,
    )
    / 255
)
HAIR = (
    np.array(
        [
            [20, 16, 14],
            [38, 26, 20],
            [62, 40, 26],
            [96, 62, 36],
            [140, 96, 56],
            [190, 150, 96],
            [222, 196, 150],
            [130, 60, 30],
            [150, 150, 150],
            [220, 220, 216],
        ],
        np.float32,
    )
    / 255
)
STYLES = ("bald", "short", "short", "cap", "cap", "bob", "bob", "long", "long", "curly", "bun")
Place = Callable[[np.ndarray], np.ndarray]  # head units [N, 2] -> pixels [N, 2]


@dataclass
class Head:
    """What one head looks like; colours are RGB in 0..1, the `_paint`s are textures."""

    skin: np.ndarray
    skin_paint: np.ndarray
    hair_paint: np.ndarray
    style: str
    width: float
    jaw: float
    features: np.ndarray  # 16 uniform numbers in 0..1 that steer the features' shapes
    glasses: bool
    beard: bool
    hat: np.ndarray | None
    curl: np.ndarray  # radial noise of the hair's outline


def skin_tone(rng: np.random.Generator) -> np.ndarray:
    """Return a skin colour between two neighbours of the ramp, float32 [3]."""
    position = rng.uniform(0, len(SKIN) - 1.001)
    low = int(position)
    tone = SKIN[low] + (SKIN[low + 1] - SKIN[low]) * (position - low)
    return np.clip(tone * rng.uniform(0.92, 1.08) + rng.normal(0, 0.015, 3), 0, 1).astype(np.float32)


def sample_head(rng: np.random.Generator, size: int) -> Head:
    """Return a random head whose hair texture covers a `size`-pixel canvas."""
    base = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.8, 1.2)
    if rng.random() < 0.05:
        base = np.array(colorsys.hsv_to_rgb(rng.random(), 0.7, 0.8), np.float32)
    strands = 1 + rng.uniform(0.2, 0.6) * noise(rng, size, 4, int(rng.integers(6, 28)))
    threads = rng.uniform(-1, 1, (rng.integers(4, 16), rng.integers(60, 200))).astype(np.float32)
    strands += rng.uniform(0, 0.5) * cv2.resize(threads, (size, size))
    skin = skin_tone(rng)
    mottle = 1 + rng.uniform(0.02, 0.2) * noise(rng, size, 5, int(rng.integers(4, 12)))
    return Head(
        skin=skin,
        skin_paint=np.clip(skin * mottle[..., None], 0, 1).astype(np.float32),
        hair_paint=np.clip(base * strands[..., None], 0, 1).astype(np.float32),
        style=str(rng.choice(STYLES)),
        width=rng.uniform(0.34, 0.41),
        jaw=rng.uniform(0.55, 0.85),
        features=rng.random(16),
        glasses=bool(rng.random() < 0.2),
        beard=bool(rng.random() < 0.15),
        hat=colour(rng) if rng.random() < 0.1 else None,
        curl=rng.normal(0, 1, 40),
    )


def _outline(head: Head, grow: float = 0.0) -> np.ndarray:
    w, j = head.width + grow, head.jaw
    half = np.array(
        [
            [0.0, -0.5 - grow],
            [0.75 * w, -0.44 - grow],
            [w, -0.16],
            [0.97 * w, 0.12],
            [(0.35 + 0.6 * j) * w, 0.36],
            [0.4 * j * w, 0.5 + grow],
        ]
    )
    return smooth(mirror(half), 2)


def paint_back_hair(layer: Layer, head: Head, place: Place, scale: float) -> None:
    """Paint the hair that lies behind the neck and shoulders; `scale` is the head height in pixels."""
    w, f = head.width, head.features
    if head.hat is not None and head.style in ("curly", "bun"):
        return
    if head.style in ("bob", "long"):
        reach = (0.35 + 0.35 * f[0]) if head.style == "bob" else (0.7 + 0.8 * f[0])
        wide = w * (1.15 + 0.3 * f[1])
        half = np.array(
            [
                [0, -0.6],
                [0.8 * wide, -0.52],
                [1.1 * wide, -0.1],
                [1.15 * wide, 0.3],
                [(0.8 + 0.4 * f[2]) * wide, reach],
                [0.3 * wide, reach],
            ]
        )
        layer.fill(place(smooth(mirror(half), 2)), head.hair_paint, shade=0.35)
    elif head.style == "curly":
        radius = 1 + 0.05 * head.curl
        shape = ellipse((0, -0.16 + 0.1 * f[0]), (w * (1.25 + 0.5 * f[1]), 0.5 + 0.25 * f[1]), 40)
        layer.fill(place(shape * radius[:, None]), head.hair_paint, shade=0.4, soft=0.012 * scale)
    elif head.style == "bun":
        layer.fill(place(ellipse((0.1 * (f[0] - 0.5), -0.6), (0.2, 0.19))), head.hair_paint, shade=0.4)


def _paint_front_hair(layer: Layer, head: Head, place: Place) -> None:
    w, f = head.width, head.features
    if head.style == "bald":
        if f[3] < 0.4:  # a shaven head: a thin cap of stubble
            cap = np.array([[0, -0.51], [0.75 * w, -0.45], [w, -0.16], [0.8 * w, -0.2], [0, -0.32]])
            layer.fill(place(smooth(mirror(cap), 2)), head.hair_paint, opacity=0.4, matte=False)
        return
    grow = {"short": 0.02, "cap": 0.07, "curly": 0.08}.get(head.style, 0.05) + 0.03 * f[4]
    line = -0.34 + 0.16 * f[5]  # the hairline on the forehead
    side = 0.02 + 0.12 * f[6] if head.style != "short" else -0.1
    if head.style in ("bob", "long"):
        side = 0.3
    part = 0.5 * (f[7] - 0.5)
    thick = w * (0.24 if head.style in ("bob", "long") else 0.12)
    shape = np.array(
        [
            [0, -0.5 - grow],
            [0.75 * (w + grow), -0.46 - grow],
            [w + grow, -0.16],
            [w + grow * 0.7, side],
            [w - thick * 0.6, side],
            [w - thick, -0.14],
            [0.55 * w, line + 0.1 * (f[8] - 0.3)],
            [part * w, line - 0.05],
            [-0.55 * w, line + 0.1 * (f[9] - 0.3)],
            [-w + thick, -0.14],
            [-w + thick * 0.6, side],
            [-w - grow * 0.7, side],
            [-w - grow, -0.16],
            [-0.75 * (w + grow), -0.46 - grow],
        ]
    )
    layer.fill(place(smooth(shape, 2)), head.hair_paint, shade=0.25)


def _paint_hat(layer: Layer, head: Head, place: Place) -> None:
    w, f = head.width, head.features
    assert head.hat is not None
    top = -0.62 - 0.1 * f[3]
    crown = np.array([[0, top], [0.8 * w, top + 0.04], [1.12 * w, -0.3], [1.1 * w, -0.2]])
    layer.fill(place(smooth(mirror(crown), 2)), head.hat, shade=0.3)
    if f[4] < 0.5:
        brim = np.array([[0, -0.27], [1.15 * w, -0.27], [(1.2 + 0.5 * f[5]) * w, -0.2], [0, -0.15]])
        layer.fill(place(smooth(mirror(brim), 1)), head.hat * 0.75)


def _paint_features(layer: Layer, head: Head, place: Place, scale: float, turn: float, smile: float) -> None:
    w, f, skin = head.width, head.features, head.skin
    x = turn * 0.12  # the features slide sideways when the head turns
    dark = skin * np.array([0.62, 0.52, 0.48], np.float32)
    eye_y, eye_x = -0.06 + 0.05 * (f[0] - 0.5), w * (0.42 + 0.08 * f[1])
    blur = 0.02 * scale
    for side in (-1, 1):
        cx = x + side * eye_x
        layer.fill(
            place(ellipse((cx, eye_y - 0.01), (0.11, 0.07), 12)), dark, opacity=0.4, soft=blur, matte=False
        )
        layer.fill(
            place(ellipse((x + side * w * 0.55, 0.16), (0.1, 0.08), 12)),
            skin * [1.1, 0.8, 0.78],
            opacity=0.35,
            soft=2 * blur,
            matte=False,
        )
        layer.fill(
            place(ellipse((cx, eye_y), (0.068, 0.026 + 0.012 * f[2]), 12)),
            np.array([0.93, 0.92, 0.9]),
            matte=False,
        )
        layer.fill(
            place(ellipse((cx + 0.03 * turn, eye_y), (0.028, 0.03), 10)),
            np.array([0.16, 0.1, 0.07]) + 0.2 * f[3] * np.array([0.3, 0.6, 1]),
            matte=False,
        )
        layer.fill(
            place(
                np.array([[cx - 0.08, eye_y], [cx, eye_y - 0.045], [cx + 0.08, eye_y], [cx, eye_y - 0.028]])
            ),
            dark * 0.4,
            matte=False,
        )
        brow = eye_y - 0.095 - 0.03 * f[4]
        shape = np.array(
            [
                [cx - 0.1, brow + 0.02],
                [cx, brow - 0.015],
                [cx + 0.1, brow + 0.02],
                [cx, brow + 0.01 + 0.02 * f[5]],
            ]
        )
        layer.fill(place(shape), head.hair_paint * 0.8, opacity=0.85, matte=False)
    nose = np.array(
        [
            [x - 0.02, eye_y],
            [x + 0.02, eye_y],
            [x + 0.075, 0.14],
            [x - 0.02 + 0.05 * turn, 0.17],
            [x - 0.075, 0.14],
        ]
    )
    layer.fill(place(nose + np.array([0.03 + 0.04 * turn, 0.01])), dark, opacity=0.35, soft=blur, matte=False)
    layer.fill(place(nose[:4]), np.minimum(skin * 1.12, 1), opacity=0.4, soft=blur, matte=False)
    for side in (-1, 1):
        layer.fill(place(ellipse((x + side * 0.035, 0.15), (0.018, 0.01), 8)), dark * 0.6, matte=False)
    if head.beard:
        beard = np.array([[0.9 * w, 0.05], [0.85 * w, 0.3], [0.4 * w, 0.52], [0, 0.55 + 0.1 * f[6]]])
        low = np.concatenate([beard, beard[::-1] * [-1, 1], [[-0.5 * w, 0.18], [x, 0.2], [0.5 * w, 0.18]]])
        layer.fill(place(smooth(low, 1)), head.hair_paint, opacity=0.5 + 0.5 * f[7], soft=blur, matte=False)
    lip = (
        skin * np.array([0.95, 0.62, 0.6], np.float32)
        if f[8] < 0.6
        else np.array([0.7, 0.15, 0.2], np.float32)
    )
    wide, my = 0.11 + 0.05 * f[9] + 0.04 * smile, 0.27
    mouth = np.array(
        [
            [x - wide, my - 0.03 * smile],
            [x, my - 0.03],
            [x + wide, my - 0.03 * smile],
            [x, my + 0.04 + 0.04 * smile],
        ]
    )
    layer.fill(place(smooth(mouth, 1)), lip, matte=False)
    if smile > 0.5:
        layer.fill(
            place(mouth * [0.9, 1] + [0.1 * x, 0.004 - 0.012]),
            np.array([0.95, 0.94, 0.9]),
            opacity=0.9,
            matte=False,
        )
    else:
        layer.fill(place(mouth * [1, 0.15] + [0, my * 0.85]), dark * 0.6, matte=False)
    if head.glasses:
        frame = colour_of_frame(f)
        for side in (-1, 1):
            centre = (x + side * eye_x, eye_y + 0.01)
            ring = np.concatenate(
                [ellipse(centre, (0.135, 0.1), 16), ellipse(centre, (0.115, 0.08), 16)[::-1]]
            )
            layer.fill(place(ring), frame, matte=False)
            layer.fill(
                place(ellipse(centre, (0.12, 0.085), 14)),
                frame,
                opacity=0.75 if f[10] < 0.3 else 0.08,
                matte=False,
            )
        layer.fill(
            place(
                np.array(
                    [
                        [x - 0.05, eye_y - 0.01],
                        [x + 0.05, eye_y - 0.01],
                        [x + 0.05, eye_y + 0.01],
                        [x - 0.05, eye_y + 0.01],
                    ]
                )
            ),
            frame,
            matte=False,
        )


def colour_of_frame(features: np.ndarray) -> np.ndarray:
    """Return the RGB colour of the glasses' frame."""
    return np.array([0.05, 0.05, 0.06]) + 0.4 * features[11] * np.array([0.6, 0.35, 0.2])


def paint_head(layer: Layer, head: Head, place: Place, scale: float, turn: float, smile: float) -> None:
    """Paint ears, face, features, front hair and hat; `turn` is -1..1 (left..right), `smile` 0..1."""
    skin, w = head.skin, head.width
    for side in (-1, 1):
        ear = ellipse((side * w * 1.0, 0.02), (0.06, 0.11), 12)
        layer.fill(place(ear), skin * np.array([0.92, 0.82, 0.8], np.float32), shade=0.3)
    layer.fill(place(_outline(head)), head.skin_paint, shade=0.3)
    gloss = ellipse((0.4 * w * (1 - 2 * head.features[12]), -0.3), (0.16, 0.1), 14)
    layer.fill(
        place(gloss),
        np.minimum(skin * 1.5, 1),
        opacity=0.5 * head.features[13],
        soft=0.05 * scale,
        matte=False,
    )
    shadow_side = ellipse((-0.3 * np.sign(turn + 1e-3), 0.05), (0.16, 0.4), 16)
    layer.fill(
        place(shadow_side),
        skin * 0.55,
        opacity=min(1.0, 0.2 * head.features[14] + 0.4 * abs(turn)),
        soft=0.08 * scale,
        matte=False,
    )
    if scale > 14:
        _paint_features(layer, head, place, scale, turn, smile)
    _paint_front_hair(layer, head, place)
    if head.hat is not None:
        _paint_hat(layer, head, place)
