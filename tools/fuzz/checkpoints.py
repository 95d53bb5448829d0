"""The target "checkpoint": a file that `load` reads, and from which a training resumes; of the present format and former ones."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import strategies as st

import RecurrentFF as rff
from RecurrentFF.data.dataset import Splits, TensorDataset
from RecurrentFF.errors import CallbackError
from RecurrentFF.settings import Settings
from RecurrentFF.training import checkpoint, container
from RecurrentFF.training.callbacks import default_callbacks
from RecurrentFF.training.console import Console
from RecurrentFF.training.trainer import Trainer
from tests.helpers import clusters, small_settings
from tools.fuzz import pickles
from tools.fuzz.contract import ContractError, answer
from tools.fuzz.mutations import among, mutated
from tools.fuzz.parts import folder_with
from tools.fuzz.target import Target
from tools.fuzz.trees import edited, values
from tools.fuzz.uses import uses_of

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"
"""The folder with checkpoints of former formats."""
MAX_WORK = 10**7
"""The largest product of batch, timesteps and units of a network that is trained."""


def check(example: bytes) -> None:
    """Load the network, use it, and resume the training, for one more epoch."""
    path = folder_with({"last.safetensors": example}) / "last.safetensors"
    network = answer(partial(rff.load, path, device="cpu"), str(path))
    if network is not None and work_of(network.settings, network.input_size) <= MAX_WORK:
        for use in uses_of(network):
            answer(use)
    answer(partial(resumes, trainer(valid_settings()), path), str(path))
    training = None if network is None else checkpoint.read(path).training
    if network is None or training is None:
        return
    epochs = min(training.progress.epoch + 1, 2**53)
    settings = answer(partial(network.settings.with_arguments, epochs=epochs, device="cpu", compile=False))
    if settings is None or work_of(settings, network.input_size) > MAX_WORK:
        return
    resumed = answer(partial(trainer, settings, network))
    if resumed is not None and answer(partial(resumes, resumed, path), str(path)):
        answer(partial(trains, resumed))


def resumes(resumed: Trainer, path: Path) -> bool:
    """Resume a training. Returns True."""
    resumed.resume(path)
    return True


def trains(resumed: Trainer) -> None:
    """Train to the end.

    Raises:
        ContractError: a callback of this package has failed.
    """
    try:
        resumed.fit()
    except CallbackError as error:
        raise ContractError("a callback that fails", str(error)) from error


def work_of(settings: Settings, inputs: int) -> int:
    """A measure of the time of a training step."""
    return settings.timesteps * (1 + settings.negatives.count) * (inputs + sum(settings.network.hidden_sizes)) ** 2


def trainer(settings: Settings, network: rff.Network | None = None) -> Trainer:
    """A trainer of a small network on a few samples, with the callbacks that its settings ask for."""
    network = rff.build(settings) if network is None else network
    inputs = torch.linspace(-1, 1, 12 * network.input_size).reshape(12, -1)
    data = TensorDataset(inputs.to(network.dtype), torch.arange(12) % network.num_classes)
    return Trainer(network, Splits(data, data, None, None), default_callbacks(settings, None), settings=settings,
                   console=Console(quiet=True))  # fmt: skip


# ---------------------------------------------------------------- valid files


@cache
def valid_settings() -> Settings:
    """The settings of the training whose checkpoints are the samples."""
    return small_settings(
        optimizer="adam", schedule="cosine", weight_averaging=0.8, epochs=2, negatives="readout", hidden_sizes=[4, 3]
    )


@cache
def circuit_settings() -> Settings:
    """The settings of a training with a generative circuit, and negatives of several sources."""
    sources = [{"name": "readout"}, {"name": "generated", "trains_readout": False}]
    return small_settings(
        generative={"name": "reconstruction", "latent_size": 2},
        negatives={"name": "mixture", "sources": sources},
        prediction="propose_and_verify", epochs=2, hidden_sizes=[4, 3],
    )  # fmt: skip


@cache
def valid_files() -> list[bytes]:
    """Checkpoints in the present format, of weights, of two trainings, and of a task; always with the same bytes."""
    torch.manual_seed(0)
    resumable, with_circuit = trained(valid_settings()), trained(circuit_settings())
    folder = folder_with({})
    checkpoint.save(resumable.network, folder / "weights", epoch=2)
    checkpoint.save(resumable.network, folder / "training", training=resumable.state_dict())
    checkpoint.save(with_circuit.network, folder / "circuit", training=with_circuit.state_dict())
    images, labels = clusters(20)
    task = rff.TensorTask((images.abs() * 50).to(torch.uint8).reshape(20, 1, 7), labels)
    rff.save(rff.build(task=task, hidden_sizes=[4], device="cpu"), folder / "task")
    files = [(folder / name).read_bytes() for name in ("weights", "training", "task", "circuit")]
    return [with_header(header_of(content), content) for content in files]


def trained(settings: Settings) -> Trainer:
    """A trainer after its last epoch, always with the same state."""
    resumable = trainer(settings)
    resumable.fit()
    resumable.progress.seconds = resumable.progress.epoch_seconds = 1.0
    resumable.history = [replace(metrics, seconds=1.0, samples_per_second=1.0) for metrics in resumable.history]
    return resumable


@cache
def former_files() -> list[bytes]:
    """Checkpoints in former formats."""
    return [file.read_bytes() for file in sorted(FIXTURES.glob("format_*/*.pt")) if "_expected" not in file.name]


@cache
def contents() -> list[Any]:
    """The content of valid files, as nested dictionaries."""
    return [container.unpack(write(content)) for content in valid_files()]


def write(content: bytes) -> Path:
    """A temporary file with a content."""
    return folder_with({"file": content}) / "file"


@cache
def former_contents() -> list[Any]:
    """The content of files in former formats, as nested dictionaries."""
    return [torch.load(io.BytesIO(content), weights_only=True) for content in former_files()]


# ---------------------------------------------------------------- examples


@cache
def tensors() -> list[Any]:
    """Tensors of many kinds, which a checkpoint should not have, or not at this place."""
    plain = torch.arange(6.0).reshape(2, 3)
    types = [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64, torch.uint8, torch.bool, torch.uint64]
    return [
        plain, plain.t(), plain[:0], plain[0, 0], *(plain.to(dtype) for dtype in types), plain * torch.nan, plain / 0,
        torch.zeros(9, 4), torch.zeros(1).expand(10**6), torch.nn.Parameter(plain), torch.full((4, 3), 1e38), torch.zeros(4),
    ]  # fmt: skip


@cache
def odd_tensors() -> list[Any]:
    """Tensors that only a former format can hold, and other objects of torch."""
    plain = torch.arange(6.0).reshape(2, 3)
    return [
        plain.to_sparse(), plain.to("meta"), plain.to_sparse_csr(), torch.zeros(1).expand(10**6, 10**6),
        torch.quantize_per_tensor(plain, 0.1, 0, torch.quint8), torch.Size([2, 3]), torch.float32, torch.device("cpu"),
        torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), (10**9, 10**9)),  # codespell:ignore coo
    ]  # fmt: skip


def packed(content: Any) -> bytes:
    """A file in the present format with the right checksum; a truncated file, if a file can't have this content."""
    try:
        file = container.pack(content, format=str(checkpoint.FORMAT))
    except Exception:  # the content is not one that is ever written
        return valid_files()[0][:-1]
    return with_header(header_of(file), file)  # always with the same bytes


def former(content: Any) -> bytes:
    """A file in a former format with the right checksum; with a wrong one, if the content can't have one."""
    entries = {key: value for key, value in content.items() if key != "checksum"} if isinstance(content, dict) else {"a": content}
    try:
        entries["checksum"] = container.checksum(entries)
    except Exception:  # tensors without values, or of 10**12 of them, have no checksum
        entries["checksum"] = "0" * 64
    file = io.BytesIO()
    try:
        torch.save(entries, file)
    except Exception:  # some objects can't be saved
        return former_files()[0][:-1]
    return file.getvalue()


def with_header(header: Any, content: bytes) -> bytes:
    """A safetensors file with another header, whose length is right."""
    try:
        text = json.dumps(header, sort_keys=True).encode()
    except (ValueError, TypeError, RecursionError):
        text = b"{}"
    return struct.pack("<Q", len(text)) + text + content[8 + header_size(content) :]


def header_size(content: bytes) -> int:
    """The length of a safetensors file's header."""
    return int(struct.unpack("<Q", content[:8])[0])


def header_of(content: bytes) -> Any:
    """The header of a safetensors file."""
    return json.loads(content[8 : 8 + header_size(content)])


def with_text(text: bytes, content: bytes) -> bytes:
    """A file whose JSON is replaced, with the right checksum."""
    decoded = text.decode("utf-8", "replace")
    tensors = safetensors.torch.load(content)
    header = header_of(content)
    header["__metadata__"] |= {
        container.CONTENT: decoded,
        container.CHECKSUM: container.checksum([decoded, {name: tensors[name] for name in sorted(tensors)}]),
    }
    return with_header(header, content)


def present_examples() -> st.SearchStrategy[bytes]:
    """Files in the present format: changed bytes, headers, JSON, and content."""
    files = valid_files()
    headers = [st.builds(with_header, edited([header_of(file)], PLAIN), st.just(file)) for file in files]
    words = [mutated([header_of(file)["__metadata__"][container.CONTENT].encode()], text=True) for file in files]
    texts = [st.builds(with_text, word, st.just(file)) for word, file in zip(words, files, strict=True)]
    odd = values(among(tensors()))
    trees = edited(contents(), odd).map(packed)
    trainings = [training_changed(contents()[index], odd) for index in (1, 3)]
    return st.one_of(mutated(files), st.one_of(*headers), st.one_of(*texts), trees, *trainings * 2)


def training_changed(content: Any, odd: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Files whose training is changed."""
    return edited([content["training"]], odd).map(lambda changed: packed(content | {"training": changed}))


def former_examples() -> st.SearchStrategy[bytes]:
    """Files in former formats: changed bytes, changed content, changed pickles, and archives of any kind."""
    files = former_files()
    trees = edited(former_contents(), values(among([*tensors(), *odd_tensors()]))).map(former)
    entries = [pickles.files_in(file) for file in files]
    changed = [st.builds(with_pickle, st.just(each), mutated([pickle_in(each)])) for each in entries]
    made = st.builds(with_pickle, st.just(entries[0]), made_pickles())
    compressed = st.builds(with_pickle, among(entries), made_pickles(), st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]))
    return st.one_of(*[mutated(files), trees, trees, st.one_of(*changed), made, compressed] * 5, bombs())


def with_pickle(files: Mapping[str, bytes], pickle: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The archive of a checkpoint with another pickle."""
    return pickles.archive({name: pickle if name.endswith(".pkl") else content for name, content in files.items()}, compression)


def pickle_in(files: Mapping[str, bytes]) -> bytes:
    """The pickle in the archive of a checkpoint."""
    return next(content for name, content in files.items() if name.endswith(".pkl"))


def made_pickles() -> st.SearchStrategy[bytes]:
    """Pickles of a dictionary like that of a checkpoint, some of whose values are shared, nested or not plain."""
    settings = pickles.text(valid_settings().to_toml())
    fine = {"format": pickles.number(7), "settings": settings, "network": b"}", "checksum": pickles.text("0" * 64)}
    keys = st.sampled_from([*fine, "learner", "history", "progress", "metrics"])
    odd = st.dictionaries(keys, among(list(pickles.VALUES.values())), max_size=2)
    whole = among(list(pickles.VALUES.values())).map(lambda value: b"\x80\x02" + value + b".")
    return st.one_of(odd.map(lambda entries: pickles.dictionary(fine | entries)), whole)


@cache
def bombs() -> st.SearchStrategy[bytes]:
    """Short archives, of which an entry unpacks to 600 MiB: the pickle, or a tensor."""
    files = pickles.files_in(former_files()[0])
    large = [next(name for name in files if part in name) for part in (".pkl", "/data/")]
    return among([pickles.archive({each: files[each] for each in files if each != name}, zeros=name) for name in large])


def examples() -> st.SearchStrategy[bytes]:
    """Files in the present format and in former ones."""
    return st.one_of(present_examples(), present_examples(), former_examples())


PLAIN = values()
"""Any values of JSON."""

TARGETS = [Target("checkpoint", examples, check)]
