"""Trainings by several processes on torch.distributed: parts of each batch, parts of the layers, or both."""

from RecurrentFF.distributed.division import Division, divide
from RecurrentFF.distributed.processes import DividedProcesses
from RecurrentFF.distributed.session import Session, session
from RecurrentFF.launch import Launch, is_first

__all__ = ["DividedProcesses", "Division", "Launch", "Session", "divide", "is_first", "session"]
