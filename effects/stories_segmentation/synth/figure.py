"""A procedural articulated person, moved by sinusoids; lengths in head heights, the head's centre is 0, 0."""

from dataclasses import dataclass

import numpy as np

from .head import Head, Place, paint_back_hair, paint_head, sample_head
from .paint import Layer, ellipse, limb, mirror, smooth
from .textures import colour, noise, texture

FRAMINGS = (("selfie", 0.45), ("half", 0.38), ("full", 0.17))


@dataclass
class Person:
    """One person's looks and motion; `height` is the head height as a fraction of the frame's side."""

    head: Head
    cloth: np.ndarray
    trousers: np.ndarray
    detail: np.ndarray  # colour of collar, buttons, patches
    badges: np.ndarray  # [N, 6] uniform numbers in 0..1: patches, pockets, straps on the chest
    height: float
    centre: np.ndarray  # of the head, in fractions of the frame's side
    build: np.ndarray  # 12 uniform numbers in 0..1: shoulders, waist, sleeves, neckline, ...
    arms: tuple[str, str]
    full: bool
    amplitude: np.ndarray  # of 8 motions
    frequency: np.ndarray  # of 8 motions, radians per frame
    phase: np.ndarray
    light: np.ndarray  # direction (x, y) and strength of the light falling on the figure
    tint: np.ndarray


def _cloth(rng: np.random.Generator, split: str, size: int) -> np.ndarray:
    """Return clothing, float32 [size, size, 3]: mostly plain cloth, always with soft folds."""
    paint = texture(rng, split, size, "flat" if rng.random() < 0.5 else None)
    folds = 1 + rng.uniform(0.1, 0.45) * noise(rng, size, 3, int(rng.integers(3, 9)))
    return np.clip(paint * folds[..., None], 0, 1).astype(np.float32)


def sample_person(rng: np.random.Generator, split: str, size: int) -> Person:
    """Return a random person for a `size`-pixel canvas, with clothes from the textures of `split`."""
    framing = str(rng.choice([name for name, _ in FRAMINGS], p=[share for _, share in FRAMINGS]))
    height, top = {
        "selfie": (rng.uniform(0.27, 0.6), rng.uniform(0.26, 0.5)),
        "half": (rng.uniform(0.16, 0.3), rng.uniform(0.18, 0.42)),
        "full": (rng.uniform(0.09, 0.14), rng.uniform(0.12, 0.25)),
    }[framing]
    poses = ["down", "down", "down", "hip", "raised", "front", "front"]
    angle = rng.uniform(0, 2 * np.pi)
    return Person(
        head=sample_head(rng, size),
        cloth=_cloth(rng, split, size),
        trousers=_cloth(rng, split, size),
        detail=colour(rng),
        badges=rng.random((rng.choice([0, 0, 0, 1, 2, 4, 7]), 6)),
        height=height,
        centre=np.array([np.clip(rng.normal(0.5, 0.13), 0.15, 0.85), top]),
        build=rng.random(12),
        arms=(str(rng.choice(poses)), str(rng.choice(poses))),
        full=framing == "full",
        amplitude=rng.random(8),
        frequency=rng.uniform(0.08, 0.5, 8),
        phase=rng.uniform(0, 2 * np.pi, 8),
        light=np.array([np.cos(angle), 0.5 * np.sin(angle), rng.uniform(0, 0.6)]),
        tint=np.clip(rng.normal(1, 0.05, 3) * rng.uniform(0.65, 1.15), 0.4, 1.3).astype(np.float32),
    )


def _place(origin: np.ndarray, scale: float, roll: float) -> Place:
    c, s = np.cos(roll), np.sin(roll)
    turn = scale * np.array([[c, s], [-s, c]])
    return lambda points: np.asarray(points, np.float64) @ turn + origin


def _arm(
    side: int, pose: str, shoulder: np.ndarray, swing: float, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the elbow and the hand, in head units."""
    upper, lower = 1.3, 1.15
    a, b = {
        "down": (0.12 + 0.15 * reach + 0.1 * swing, 0.05 + 0.2 * swing),
        "hip": (0.75 + 0.1 * swing, -0.9 - 0.2 * reach),
        "raised": (0.9 + 0.8 * reach + 0.2 * swing, 2.6 + 0.4 * swing),
        "front": (0.2 + 0.1 * swing, -1.2 - 0.9 * reach + 0.3 * swing),
    }[pose]
    elbow = shoulder + upper * np.array([side * np.sin(a), np.cos(a)])
    return elbow, elbow + lower * np.array([side * np.sin(b), np.cos(b)])


def _paint_arm(
    layer: Layer,
    person: Person,
    place: Place,
    side: int,
    elbow: np.ndarray,
    hand: np.ndarray,
    shift: tuple[float, float],
) -> None:
    build, skin = person.build, person.head.skin
    shoulder = np.array([side * (0.72 + 0.25 * build[0]), 0.92])
    bare = build[5] < 0.25
    thick = 0.2 + 0.09 * build[1]
    layer.fill(place(limb(shoulder, elbow, thick, thick * 0.82)), person.cloth, shade=0.35, shift=shift)
    layer.fill(
        place(limb(elbow, hand, thick * 0.8, 0.12 if bare else 0.15)),
        skin if bare else person.cloth,
        shade=0.35,
        shift=shift,
    )
    along = (hand - elbow) / np.linalg.norm(hand - elbow)
    across = np.array([-along[1], along[0]])
    layer.fill(place(limb(hand, hand + 0.2 * along, 0.12, 0.14)), skin, shade=0.25)
    for finger in range(4):
        tip = hand + 0.45 * along + (finger - 1.5) * (0.05 + 0.05 * build[6]) * across
        layer.fill(
            place(limb(hand + 0.25 * along + (finger - 1.5) * 0.06 * across, tip, 0.04, 0.032)),
            skin * (0.9 + 0.04 * finger),
        )
    layer.fill(
        place(limb(hand + 0.05 * along, hand + 0.25 * along + side * 0.17 * across, 0.045, 0.036)),
        skin * 0.95,
    )


def _paint_legs(layer: Layer, person: Person, place: Place, sway: float, shift: tuple[float, float]) -> None:
    build = person.build
    for side in (-1, 1):
        hip = np.array([side * 0.3, 3.1])
        knee = hip + np.array([side * (0.05 + 0.2 * build[7]) + 0.15 * sway * side, 1.6])
        foot = knee + np.array([side * 0.05 - 0.1 * sway, 1.7])
        layer.fill(place(limb(hip, knee, 0.36, 0.25)), person.trousers, shade=0.35, shift=shift)
        layer.fill(place(limb(knee, foot, 0.25, 0.16)), person.trousers, shade=0.35, shift=shift)
        layer.fill(
            place(limb(foot + np.array([0, 0.08]), foot + np.array([side * 0.25, 0.14]), 0.13, 0.1)),
            person.detail * 0.5,
            shade=0.3,
        )


def _paint_torso(layer: Layer, person: Person, place: Place, shift: tuple[float, float]) -> None:
    b = person.build
    wide = 0.85 + 0.3 * b[0]
    waist = wide * (0.62 + 0.35 * b[2])
    half = np.array(
        [
            [0.2, 0.48],
            [0.3, 0.62],
            [0.62 * wide, 0.72],
            [0.92 * wide, 0.84],
            [wide, 1.15],
            [0.88 * wide, 1.7],
            [waist, 2.4],
            [0.8 * wide, 3.3],
        ]
    )
    if not person.full:
        half = np.concatenate([half, [[0.85 * wide, 5.0]]])
    layer.fill(place(smooth(mirror(half), 2)), person.cloth, shade=0.3, shift=shift)
    if b[3] < 0.3:  # a jacket: the shirt shows between the lapels
        shirt = np.array([[0.2, 0.55], [0.24, 0.8], [0.05 + 0.2 * b[4], 2.8]])
        layer.fill(place(mirror(shirt)), person.detail, shade=0.15)
    elif b[3] < 0.5:  # a zip or a row of buttons
        strip = np.array([[0.03, 0.7], [0.03, 3.3]])
        layer.fill(place(mirror(strip)), person.detail)
    for x, y, across, down, kind, shine in person.badges:
        centre = (1.4 * (x - 0.5) * wide, 0.95 + 1.6 * y)
        half = (0.03 + 0.17 * across, 0.03 + 0.17 * down)
        patch = ellipse(centre, half, 4 if kind < 0.4 else 14)
        layer.fill(
            place(patch), person.detail * shine if kind < 0.7 else 1 - person.detail * shine, matte=False
        )
        if kind > 0.85:
            layer.fill(place(ellipse(centre, (half[0] * 0.6, half[1] * 0.6), 14)), person.detail, matte=False)


def _paint_neck(layer: Layer, person: Person, place: Place) -> None:
    b, skin = person.build, person.head.skin
    w = person.head.width * (0.58 + 0.15 * b[8])
    deep = 0.62 + 0.35 * b[9] ** 2
    half = np.array([[w, 0.2], [w * 0.95, 0.5], [w * 1.25, 0.66], [0.3 * w, deep]])
    layer.fill(place(smooth(mirror(half), 1)), person.head.skin_paint * 0.9, shade=0.15)
    layer.fill(place(ellipse((0, 0.42), (w, 0.13), 14)), skin * 0.5, opacity=0.5, soft=3.0, matte=False)
    if b[10] < 0.4:  # a collar, from a shirt's to a space suit's ring
        tall = 0.1 + 0.25 * b[11] ** 2
        band = np.array(
            [
                [w * 1.05, 0.46],
                [w * 1.35 + tall * 0.6, 0.56],
                [w * 1.3 + tall * 0.6, 0.56 + tall],
                [0.2, 0.7 + tall],
                [0.06, 0.62],
            ]
        )
        layer.fill(place(smooth(mirror(band), 1)), person.detail, shade=0.3)


def render_person(person: Person, time: float, size: int) -> Layer:
    """Return the person at `time` (frames) on a `size`-pixel canvas, premultiplied by its alpha."""
    layer = Layer(size)
    wave = person.amplitude * np.sin(person.frequency * time + person.phase)
    scale = person.height * size
    origin = person.centre * size + scale * np.array([0.35 * wave[0], 0.12 * wave[1]])
    shift = (float(origin[0] - size / 2), float(origin[1] - size / 2))  # cloth moves with the body
    body = _place(origin, scale, 0.1 * wave[2])
    face = _place(origin, scale, 0.1 * wave[2] + 0.22 * wave[3])
    arms = []
    for side, pose, swing in ((-1, person.arms[0], wave[4]), (1, person.arms[1], wave[5])):
        shoulder = np.array([side * (0.72 + 0.25 * person.build[0]), 0.92])
        arms.append((side, pose, *_arm(side, pose, shoulder, swing, float(person.amplitude[6]))))
    paint_back_hair(layer, person.head, face, scale)
    if person.full:
        _paint_legs(layer, person, body, wave[6], shift)
    for side, pose, elbow, hand in arms:
        if pose == "hip":
            _paint_arm(layer, person, body, side, elbow, hand, shift)
    _paint_torso(layer, person, body, shift)
    _paint_neck(layer, person, body)
    paint_head(layer, person.head, face, scale, float(1.6 * wave[7]), float(np.clip(0.5 + wave[6], 0, 1)))
    for side, pose, elbow, hand in arms:
        if pose != "hip":
            _paint_arm(layer, person, body, side, elbow, hand, shift)
    _light(layer, person, origin, scale)
    return layer


def _light(layer: Layer, person: Person, origin: np.ndarray, scale: float) -> None:
    """Shade the whole figure by one directional light and one colour cast."""
    axis = np.arange(layer.size, dtype=np.float32)
    slope_x = np.clip((axis - origin[0]) / (1.5 * scale), -1, 1) * person.light[0]
    slope_y = np.clip((axis - origin[1]) / (3 * scale), -1, 1) * person.light[1]
    field = 1 + person.light[2] * (slope_x[None, :] + slope_y[:, None])
    lit = layer.rgb * field[..., None].astype(np.float32) * person.tint
    layer.rgb = np.minimum(lit, layer.alpha[..., None])
