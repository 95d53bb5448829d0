"""For all tests: the networks are tiny, so that threads would only wait for each other."""

import torch

torch.set_num_threads(1)
