"""The reference models beside the peers, where these are installed."""

from __future__ import annotations

import json
import subprocess

import pytest

pytest.importorskip("torch")

from benchmarks.models.reference import subject
from benchmarks.peers.bench import PEERS
from tiercast.errors import UsageError
from tiercast.peers.convert import ensure
from tiercast.peers.drive import Effort, measure
from tiercast.peers.environment import Environment, variables

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def environment() -> Environment:
    try:
        return Environment(PEERS)
    except UsageError as error:
        pytest.skip(str(error))


def test_a_peer_is_converted_checked_and_timed_with_each_thread_count(environment: Environment) -> None:
    model = subject("gesture_gru")
    done = {"onnxruntime": ensure(model, "onnxruntime", environment)}
    measured = measure(model, done, [1, 2], Effort(rounds=1, visit_s=0.01, min_calls=2), environment)
    assert measured.peaks[0] > 1
    for cells in measured.cells.values():
        cell = cells["onnxruntime"]
        assert not cell.failed and cell.error is not None and cell.error < 1e-4
        assert cell.ms and cell.wall_ms and cell.cpu_ms and cell.load_cpu_ms and cell.peak_growth_mb


def test_a_missing_model_is_an_error_line_not_a_hang(environment: Environment) -> None:
    command = environment.command(
        "onnxruntime", "tiercast.peers.worker", "no-such-folder", "onnxruntime", "1", "0"
    )
    done = subprocess.run(command, env=variables(1), capture_output=True, text=True, timeout=60)
    assert "no-such-folder" in json.loads(done.stdout)["failed"]
