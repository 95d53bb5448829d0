"""Train on two hosts, which are network namespaces of this machine: python tests/two_hosts.py, as root on Linux.

`torchrun` starts a process in each. They train a tiny network together, in data mode and in layer mode, and its weights must be
those of one process, up to the order of sums. Where namespaces can't be made, the script says why and exits with 0.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ADDRESSES = ("10.213.77.1", "10.213.77.2")
PORT = 29577
SECONDS = 120.0
"""The seconds for which a training may take."""


def main() -> int:
    """Train in all modes, and compare. Returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended, too
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        reason, hosts = why_not(), []
        if not reason:
            try:
                hosts = [stack.enter_context(host(address)) for address in ADDRESSES]
                connect(hosts)
            except (subprocess.CalledProcessError, OSError) as error:
                reason = getattr(error, "stderr", "") or str(error)
        if reason:
            print(f"two_hosts: skipped, this machine can't make two network namespaces ({reason.strip()})")
            return 0
        alone = Path(folder, "one.pt")
        subprocess.run([sys.executable, __file__, "--train", "data", alone], check=True, timeout=SECONDS, env=environment())
        return max(compare(mode, train(hosts, mode, Path(folder, f"{mode}.pt")), alone) for mode in ("data", "layer"))


def why_not() -> str:
    """Why this machine can't make network namespaces; empty if it may be able to."""
    if sys.platform != "linux":
        return "it needs Linux"
    if os.geteuid() != 0:
        return "it needs root"
    missing = [command for command in ("ip", "unshare", "nsenter") if shutil.which(command) is None]
    return f"no command {' and no '.join(missing)}; install iproute2 and util-linux" if missing else ""


@contextlib.contextmanager
def host(address: str) -> Iterator[int]:
    """A network namespace, which lives as long as a process that sleeps in it. Yields the number of the process."""
    own = Path("/proc/self/ns/net").readlink()
    # It ends by itself if this script is killed, and the namespace with it.
    command = ["unshare", "--net", "sleep", str(int(4 * SECONDS))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sleeper:
        try:
            while sleeper.poll() is None and Path(f"/proc/{sleeper.pid}/ns/net").readlink() == own:
                time.sleep(0.01)
            if sleeper.poll() is not None:
                assert sleeper.stderr is not None
                raise OSError(sleeper.stderr.read().strip() or "unshare has ended")
            yield sleeper.pid
        finally:
            sleeper.kill()


def connect(hosts: list[int]) -> None:
    """Connect the two namespaces by a pair of virtual devices."""
    first, second = hosts
    pair = ["ip", "link", "add", "wire", "netns", str(first), "type", "veth", "peer", "name", "wire", "netns", str(second)]
    run(pair)
    for pid, address in zip(hosts, ADDRESSES, strict=True):
        for words in (f"addr add {address}/24 dev wire", "link set wire up", "link set lo up"):
            run([*within(pid), "ip", *words.split()])


def run(command: list[str]) -> None:
    """Run a command to its end."""
    subprocess.run(command, check=True, capture_output=True, text=True)


def within(pid: int) -> list[str]:
    """The words before a command that shall run on a host."""
    return ["nsenter", "--target", str(pid), "--net"]


def environment() -> dict[str, str]:
    """The environment of all trainings."""
    return os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "wire", "PYTHONPATH": str(ROOT)}


def train(hosts: list[int], mode: str, file: Path) -> Path:
    """Train with a process on each host. Returns the file with the weights of the process on the second one.

    Raises:
        subprocess.CalledProcessError: one of them has failed.
    """
    started = []
    try:
        for rank, pid in enumerate(hosts):
            torchrun = [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank),
                "--master-addr", ADDRESSES[0], "--master-port", str(PORT), "--local-addr", ADDRESSES[rank],
            ]  # fmt: skip
            command = [*within(pid), *torchrun, __file__, "--train", mode, str(file)]
            started.append(subprocess.Popen(command, env=environment(), start_new_session=True))
        for process in started:
            if process.wait(SECONDS) != 0:
                raise subprocess.CalledProcessError(process.returncode, f"torchrun in {mode} mode")
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return file


def compare(mode: str, file: Path, alone: Path) -> int:
    """Compare the weights with those of one process. Returns the exit code."""
    import torch

    found, expected = torch.load(file), torch.load(alone)
    difference = max(float((found[name] - weight).abs().max()) for name, weight in expected.items())
    right = found.keys() == expected.keys() and difference < 1e-10
    print(
        f"two_hosts: {mode} mode on two hosts, largest difference from one process {difference:.1e}: {'ok' if right else 'wrong'}"
    )
    return 0 if right else 1


def train_here(mode: str, file: Path) -> None:
    """Train as one of the processes that `torchrun` has started, or as the only one, and save the weights in the last one."""
    import torch

    from RecurrentFF.data.dataset import Splits, TensorDataset
    from RecurrentFF.model.network import Network
    from RecurrentFF.settings import Settings
    from RecurrentFF.training.console import Console
    from RecurrentFF.training.trainer import Trainer

    settings = Settings.from_arguments(
        input_size=12, num_classes=3, hidden_sizes=[8, 7, 6], epochs=2, batch_size=10, device="cpu", compile=False,
        label_timesteps=4, prelabel_timesteps=3, prediction_window=(1, 3), objective="threshold",
        optimizer={"name": "torch", "optimizer": "SGD", "learning_rate": 0.03}, distributed={"mode": mode, "timeout": 60},
    )  # fmt: skip
    inputs = torch.rand(37, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(inputs, torch.arange(37) % 3)
    network = Network(settings, torch.float64)
    Trainer(network, Splits(data, data, None, data), console=Console(quiet=True)).fit()
    if os.environ.get("RANK", "1") == "1":
        torch.save(network.state_dict(), file)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train_here(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main())
