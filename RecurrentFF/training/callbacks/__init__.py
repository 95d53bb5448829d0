"""Callbacks: what happens beside training, one idea in each file. `base` documents the events and their order."""

from RecurrentFF.training.callbacks.averaging import WeightAveraging
from RecurrentFF.training.callbacks.base import Callback
from RecurrentFF.training.callbacks.checkpoints import Checkpoints
from RecurrentFF.training.callbacks.default import default_callbacks
from RecurrentFF.training.callbacks.divergence import NonFiniteCheck
from RecurrentFF.training.callbacks.early_stopping import EarlyStopping
from RecurrentFF.training.callbacks.json_lines import JsonLines
from RecurrentFF.training.callbacks.plots import Plots
from RecurrentFF.training.callbacks.profiler import Profiler
from RecurrentFF.training.callbacks.progress import ProgressConsole
from RecurrentFF.training.callbacks.recorder import Recorder
from RecurrentFF.training.callbacks.trackers import TensorBoard, WeightsAndBiases

__all__ = [
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "JsonLines",
    "NonFiniteCheck",
    "Plots",
    "Profiler",
    "ProgressConsole",
    "Recorder",
    "TensorBoard",
    "WeightAveraging",
    "WeightsAndBiases",
    "default_callbacks",
]
