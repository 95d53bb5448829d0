"""Train on waves that a program passes. Only their transform is registered: a configuration has [transform] name = "spectrum"."""

import tempfile
from dataclasses import dataclass

import torch

import RecurrentFF as rff


@rff.register("transform", "spectrum")
@dataclass(frozen=True)
class Spectrum(rff.Transform):
    """The magnitudes of the frequencies of a signal."""

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:  # (n, *input_shape) -> (n, features)
        return torch.abs(torch.fft.rfft(samples.float().flatten(1))) / 5


if __name__ == "__main__":
    torch.manual_seed(0)
    waves = (torch.rand(2000, 1) * 6.3 + torch.arange(64) * 0.5).sin()
    waves[1::2] = waves[1::2].sign()  # square waves
    task = rff.TensorTask(waves + 0.3 * torch.randn(2000, 64), ["sine", "square"] * 1000, transform=Spectrum())
    network = rff.build(task=task, hidden_sizes=[50, 50], objective="pairwise", optimizer="adam", batch_size=50, epochs=3)
    rff.fit(network, task)
    with tempfile.TemporaryDirectory() as folder:
        rff.save(network, f"{folder}/waves.safetensors")
        print(rff.load(f"{folder}/waves.safetensors").predict(waves[:4]))
