"""A net that plain quantization breaks, rescued by a contract: python -m benchmarks.outliers

Two channels of one layer are hundreds of times as large as the others, behind a clip that no rescaling of
channels goes through, as happens after training with weight decay on normalised layers. One scale for the
whole value then loses the small channels. Prints what all on integers does, what the contract keeps in f32
and why; the evidence lies in --work.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import tiercast
from tiercast.quantize.contract import required
from tiercast.quantize.evidence import contract_facts, write_evidence

SIZE, LARGE = 64, (2, 9)


class Outliers(nn.Module):
    """Six convolutions; the third makes the outlier channels, the fourth reads them weakly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()
        )
        self.outliers = nn.Conv2d(32, 32, 3, padding=1)
        self.reader = nn.Conv2d(32, 32, 1)
        self.after = nn.Sequential(
            nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2, 3, padding=1)
        )
        with torch.no_grad():
            for channel in LARGE:
                self.outliers.weight[channel] *= 400
                self.reader.weight[:, channel] /= 4000

    def forward(self, image: Tensor) -> Tensor:
        """f32 [1, 3, S, S] to [1, 2, S, S]."""
        return self.after(self.reader(torch.clamp(self.outliers(self.before(image)), 0, 6000)))


def main() -> None:
    """Quantizes wholly and under a contract, prints both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("build/bench-outliers"))
    parser.add_argument("--max-drop", default="3%")
    args = parser.parse_args()
    source = (Outliers().eval(), {"image": torch.zeros(1, 3, SIZE, SIZE)})
    random = np.random.default_rng(0)
    samples = [{"image": random.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(8)]
    whole = tiercast.quantize.post_training(source, samples, check_import=False)
    best = max(whole.calibrated.effects.values())
    error = 100 * 10 ** (-best / 20)
    print(f"all {len(whole.chosen)} units on integers: {best:.1f} dB, {error:.1f} % relative error")
    done = tiercast.quantize.under_contract(source, samples, max_drop=args.max_drop, check_import=False)
    page = write_evidence(args.work / "outliers.html", done, "outliers")
    found = required(done)
    print(
        f"contract ({done.terms}): {sum(found.choice.integers)} of {len(done.layers)} layers on integers, "
        f"{found.value:.1f} dB, {100 * found.drop:.2f} % relative error, "
        f"{found.f32_cost / found.cost:.2f}x as fast"
    )
    for item in contract_facts(done)["layers"]:
        told = f"{item['sqnr_db']:5.1f} dB alone, {item['f32_cost']:.0f} -> {item['s8_cost']:.0f} us"
        print(
            f"  {item['precision']} {', '.join(item['operators'])} ({item['name']}): {told} {item['reason']}"
        )
    print(f"evidence: {page}")


if __name__ == "__main__":
    main()
