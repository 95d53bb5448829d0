"""The membership of this process in a training by several processes, as `torchrun` has started it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from RecurrentFF.distributed.agreement import facts_of, require_agreement
from RecurrentFF.distributed.cost import better_mode
from RecurrentFF.distributed.division import divide
from RecurrentFF.distributed.group import Activity, Group
from RecurrentFF.distributed.processes import DividedProcesses
from RecurrentFF.distributed.signs import client, server
from RecurrentFF.distributed.watch import Watch
from RecurrentFF.errors import ProcessError, first_line
from RecurrentFF.launch import Launch
from RecurrentFF.settings import Settings

if TYPE_CHECKING:
    from RecurrentFF.model.network import Network

JOIN_SECONDS = 120.0
"""The seconds within which all processes must have started, if distributed.timeout is not shorter."""

_NEVER = timedelta(days=7)  # the timeout of torch.distributed itself, in place of which the watch ends a process


class Session:
    """The membership of this process in the group of all processes.

    Args:
        launch: what `torchrun` has told.
        timeout: the seconds after which a process that does not answer ends the training.

    Raises:
        ProcessError: the processes can't join each other.
    """

    def __init__(self, launch: Launch, timeout: float) -> None:
        self.launch = launch
        self.activity = Activity()
        self._meshes: dict[tuple[str, int, int], DeviceMesh] = {}
        if torch.cuda.is_available():
            torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
        try:
            self._server = server(launch)  # which must live as long as this process
        except (RuntimeError, TypeError, ValueError) as error:
            raise ProcessError(_why_not_started(launch, error)) from None
        self.watch = Watch(launch, self.activity, timeout, min(JOIN_SECONDS, timeout))
        self.watch.start()
        self.watch.wait_for_all()
        self._join()
        self.world = Group(range(launch.count), dist.group.WORLD, self.activity)  # type: ignore[arg-type]

    def processes(self, network: Network, settings: Settings, data: Mapping[str, int] | None = None) -> DividedProcesses:
        """The division of a training among the processes.

        Args:
            network: the network.
            settings: the configuration of the training.
            data: numbers that tell the data of all processes from others, by their names; none if left out.

        Raises:
            SettingsError: the settings don't fit the number of processes or of layers, or are not the same in all of them.
        """
        found = self.world.objects((facts_of(network, settings, data or {}), self.watch.folder))
        require_agreement([facts for facts, _ in found])
        self.watch.folder = found[0][1]
        options = settings.distributed
        division = divide(network, options, self.world.size, self._mode(network, settings))
        groups = self._groups(network.device.type, division.data_parts, division.layer_parts)
        return DividedProcesses(network, division, self.world, *groups, options)

    def _groups(self, device_type: str, data_parts: int, layer_parts: int) -> tuple[Group, Group]:
        """This process's groups: those with other parts of each batch, and those with other layers."""
        key = device_type, data_parts, layer_parts
        if key not in self._meshes:  # a mesh has connections of its own, which later trainings use again
            with self.activity.waiting():
                self._meshes[key] = init_device_mesh(device_type, (data_parts, layer_parts), mesh_dim_names=("data", "layer"))
        mesh, batched = self._meshes[key], device_type == "cuda"
        return self._group(mesh.get_group("data"), batched), self._group(mesh.get_group("layer"), batched)

    def _group(self, group: dist.ProcessGroup, batched: bool) -> Group:
        set_timeout = getattr(dist.distributed_c10d, "set_timeout", None) or dist.distributed_c10d._set_pg_timeout
        with contextlib.suppress(Exception):  # there is no public name before torch 2.14, and not all kinds of groups can do this
            set_timeout(_NEVER, group)
        return Group(dist.get_process_group_ranks(group), group, self.activity, batched=batched)

    def _mode(self, network: Network, settings: Settings) -> str:
        mode = settings.distributed.mode
        return better_mode(network, settings, self.world.size) if mode == "auto" else mode

    def _join(self) -> None:
        if dist.is_initialized():
            return
        launch, backend = self.launch, "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            with self.activity.waiting():
                store = client(launch, JOIN_SECONDS)
                dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.count, timeout=_NEVER)
        except ValueError as error:
            raise ProcessError(f"process {launch.rank} of {launch.count} can't join the others ({first_line(error)})") from None


class _Sessions:
    """The session of this program, as the default group of torch.distributed, of which there is one."""

    only: Session | None = None


def session(timeout: float | None = None) -> Session | None:
    """The session of this process; None if it is the only one. The first call waits until all processes have joined.

    Args:
        timeout: the seconds after which a process that does not answer ends the training; None for those of an earlier call, or
            300.

    Raises:
        ProcessError: they can't join each other.
    """
    launch = Launch.from_environment()
    if launch is None:
        return None
    if _Sessions.only is None:
        _Sessions.only = Session(launch, 300.0 if timeout is None else timeout)
    elif timeout is not None:
        _Sessions.only.watch.timeout = timeout
    return _Sessions.only


def _why_not_started(launch: Launch, error: Exception) -> str:
    words = str(error)
    if "EADDRINUSE" in words or "address already in use" in words:
        return f"port {launch.port} is in use by another program; choose another MASTER_PORT"
    return f"process 0 can't accept the others at port {launch.port} ({first_line(error)}); choose another MASTER_PORT"
