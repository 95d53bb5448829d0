"""Train on data of one's own, raw waves with names, whose transform the saved network has.

A configuration names it after plugins = ["examples.own_data"], as [transform] name = "spectrum".
"""

from dataclasses import dataclass

import torch

import RecurrentFF as rff


@rff.register("transform", "spectrum")
@dataclass(frozen=True)
class Spectrum(rff.Transform):
    def __call__(self, samples: torch.Tensor) -> torch.Tensor:  # (n, *input_shape) -> (n, features)
        spectrum = torch.fft.rfft(samples.float().flatten(1))
        return torch.hypot(spectrum.real, spectrum.imag) / 5


if __name__ == "__main__":
    waves = (torch.rand(2000, 1) * 6.3 + torch.arange(64) * 0.5).sin()
    waves[1::2] = waves[1::2].sign()  # square waves
    waves += 0.5 * torch.randn(2000, 64)
    task = rff.TensorTask(waves, ["sine", "square"] * 1000, transform=Spectrum())
    network = rff.build(task=task, hidden_sizes=[50, 50], objective="pairwise", optimizer="adam", batch_size=50, epochs=3)
    rff.fit(network, task)
    rff.save(network, "waves.pt")
    print(rff.load("waves.pt").predict(waves[:4]))
