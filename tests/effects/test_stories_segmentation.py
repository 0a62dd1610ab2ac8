"""The effect's data are deterministic; its weights load, fit their budget and are worth their card."""

import importlib
import importlib.util
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("cv2")
pytest.importorskip("skimage")

FOLDER = Path(__file__).parents[2] / "effects" / "stories_segmentation"
SIBLINGS = ("evaluate", "model", "synth")
IOU_BOUND = 0.80  # 6 clips scatter by a few points around the mean of 40 in card.json


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Import the effect's scripts the way they run, as siblings on one thread, and forget them afterwards."""
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the nets are small: more threads only wait for each other
    yield
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules if name.split(".")[0] in SIBLINGS]:
        del sys.modules[name]


@pytest.fixture
def model() -> ModuleType:
    """Import model.py by its path alone, as the compiler does."""
    spec = importlib.util.spec_from_file_location("stories_segmentation_model", FOLDER / "model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.usefixtures("folder")
def test_same_seed_same_clip() -> None:
    synth = importlib.import_module("synth")
    one, again, other = (synth.make_clip(np.random.default_rng(seed), "train", 2, 64) for seed in (7, 7, 8))
    assert one.frames.tobytes() == again.frames.tobytes() and one.masks.tobytes() == again.masks.tobytes()
    assert one.frames.tobytes() != other.frames.tobytes()
    assert one.frames.shape == (2, 64, 64, 3) and one.frames.dtype == np.uint8


@pytest.mark.usefixtures("folder")
def test_people_are_there_and_partly_transparent_at_the_rim() -> None:
    synth = importlib.import_module("synth")
    for seed in range(6):
        person, scene = synth.layers(np.random.default_rng(seed), "heldout")
        alpha = person[..., 3]
        assert scene.shape == (256, 256, 3)
        assert 0.01 < (alpha > 127).mean() < 0.95
        assert ((alpha > 0) & (alpha < 255)).any()
        assert (person[..., :3].max(-1) <= alpha).all(), "colours must be premultiplied"


@pytest.mark.usefixtures("folder")
def test_training_never_sees_the_heldout_material() -> None:
    synth = importlib.import_module("synth")
    assert not set(synth.PHOTOS["train"]) & set(synth.PHOTOS["heldout"])
    assert not {"chevron", "cells"} & set(synth.FAMILIES["train"])
    assert "astronaut.png" not in {name for names in synth.PHOTOS.values() for name in names}


def test_weights_fit_and_export_agrees_with_the_facts(model: ModuleType) -> None:
    facts = tomllib.loads((FOLDER / "effect.toml").read_text())
    assert (FOLDER / facts["weights"]).stat().st_size <= 300_000
    net, inputs = model.export()
    assert {name: list(value.shape) for name, value in inputs.items()} == facts["variants"][0]["inputs"]
    with torch.no_grad():
        mask = net(**inputs)["mask"]
    assert list(mask.shape) == [1, 1, 256, 256]
    assert bool(((mask >= 0) & (mask <= 1)).all())


def test_missing_weights_are_named(model: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        model.load(tmp_path / "none.safetensors")


@pytest.mark.usefixtures("folder")
def test_finds_people_in_heldout_clips() -> None:
    evaluate = importlib.import_module("evaluate")
    clips = evaluate.clip_set(seed=300, count=6, length=24, size=128)
    result = evaluate.score(evaluate.load(), clips)
    assert result["iou"] >= IOU_BOUND, result
    card = json.loads((FOLDER / "card.json").read_text())
    assert card["test"]["metrics"]["recurrent_128"]["iou"] >= IOU_BOUND
