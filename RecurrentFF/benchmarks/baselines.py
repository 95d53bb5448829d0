"""Baselines: logistic regression, feed-forward networks and recurrent networks, trained by backpropagation.

They are trained on the same samples in the same order as the network. The optimizer is Adam with a learning rate of 1e-3 and
cosine decay. Logistic regression computes matrix products in float32, the others in the precision of the configuration. Epochs,
batch size, timesteps and seed are those of the configuration. The multilayer perceptron and the convolutional network also have
the configuration's dropout, moving average of the weights, and learning rate of Adam. The training loop and its callbacks are
those of the network: the validation samples, if there are any, select the best epoch, the test set is read once, at the end, and
an interrupted run can be resumed.
"""

from __future__ import annotations

import re

import torch

from RecurrentFF.benchmarks.baseline import Baseline
from RecurrentFF.benchmarks.feedforward_baselines import ConvolutionalNetwork, LogisticRegression, MultilayerPerceptron
from RecurrentFF.benchmarks.recurrent_baselines import GRU, RNN
from RecurrentFF.data.dataset import Splits
from RecurrentFF.errors import SettingsError
from RecurrentFF.messages import nearest
from RecurrentFF.model.network import Network


def make_baseline(name: str, network: Network, splits: Splits) -> Baseline:
    """Create a baseline for the data of a network.

    Args:
        name: "logistic", "mlp", "cnn", "gru" or "rnn"; or a recurrent one with its number of units, as in "gru-400".
        network: the network to compare with.
        splits: the data sets, by which the baseline sees whether inputs are static.

    Raises:
        SettingsError: there is no such baseline, or it does not fit the network or the data.
    """
    torch.manual_seed(network.settings.training.seed)
    feedforward = {kind.baseline: kind for kind in (LogisticRegression, MultilayerPerceptron, ConvolutionalNetwork)}
    if name in feedforward:
        static = next(iter(splits.train.batches(1))).inputs.dim() == 2
        return feedforward[name](network, 1 if static else network.settings.timesteps).to(network.device)
    if recurrent := re.fullmatch(r"(gru|rnn)(?:-([1-9][0-9]{0,4}))?", name):
        cell, units = recurrent.groups()
        return (GRU if cell == "gru" else RNN)(network, int(units) if units else None).to(network.device)
    known = [*feedforward, "gru", "gru-UNITS", "rnn", "rnn-UNITS"]
    raise SettingsError(f"baseline '{name}': there is no such baseline{nearest(name.lower(), known)}")
