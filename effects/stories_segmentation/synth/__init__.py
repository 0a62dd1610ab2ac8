"""Procedural video of people, deterministic from a seed: all that the effect is trained and tested on."""

from .clip import Clip, layers, make_clip
from .photos import PHOTOS
from .textures import FAMILIES

__all__ = ["FAMILIES", "PHOTOS", "Clip", "layers", "make_clip"]
