"""ONNX files of the user's: what their header says, a session that runs them, and the networks that
put out one row of features for each image or patch of sound.

Conventions: a shape is a tuple of sizes, None where the file leaves one free. Only float32 networks
with one input are taken. An ONNX file runs no code of its own, but it may name files its tensors
lie in: such a file is refused, since its digest says nothing of what lies elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError, unknown_name
from va_search.files import check_regular

MOST_BYTES = 2 << 30
"""Bytes of a protobuf message."""
Shape = tuple[int | None, ...]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file's header: its one input and its outputs by name."""

    path: Path
    input: str
    shape: Shape
    outputs: dict[str, Shape]

    @classmethod
    def read(cls, path: Path) -> OnnxFile:
        """The header of the file at `path`; InputError when it is no ONNX file, has more than one
        input or another type than float32, or when tensors of it lie in other files."""
        model = _load(path)
        # Old exporters list the weights among the inputs.
        stored = {tensor.name for tensor in model.graph.initializer}
        inputs = [entry for entry in model.graph.input if entry.name not in stored]
        problems = _external_problems(model, path)
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs) or "none"
            problems.append(
                f"{path}: expected a network with one input, found {len(inputs)} ({names})"
            )
        elif inputs[0].type.tensor_type.elem_type != 1:  # TensorProto.FLOAT
            problems.append(
                f"{path}: input {inputs[0].name!r} is not float32; export the network in float32"
            )
        if problems:
            raise InputError(*problems)
        outputs = {entry.name: _shape(entry) for entry in model.graph.output}
        return cls(path, inputs[0].name, _shape(inputs[0]), outputs)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the file insists on; None where it is free."""
        return self.shape[0] if self.shape else None

    def output(self, name: str | None) -> str:
        """The output to read: `name`, or the only one; InputError when it is not there or not the
        only one."""
        if name is None and len(self.outputs) == 1:
            return next(iter(self.outputs))
        if name is None:
            raise InputError(
                f"{self.path}: has {len(self.outputs)} outputs, say which with output: "
                f"{', '.join(self.outputs)}"
            )
        if name not in self.outputs:
            raise InputError(f"{self.path}: " + unknown_name("output", name, self.outputs))
        return name

    def check_input(self, expected: tuple[int, ...], declared: str) -> None:
        """Refuse a file whose input is not of this shape: InputError, in which `declared` names the
        settings that asked for it."""
        fits = len(self.shape) == len(expected)
        for size, expected_size in zip(self.shape, expected, strict=False):
            fits = fits and size in (None, expected_size)
        if self.shape and not fits:
            raise InputError(
                f"{self.path}: input {self.input!r} has shape {_text(self.shape)}, "
                f"but {declared} makes {_text(expected)}"
            )

    def session(self, device: str = "cpu") -> Any:
        """An onnxruntime session on "cpu" or "cuda"; InputError when the file or the device can't
        be used.

        It takes as many threads as OMP_NUM_THREADS says, all cores where that is unset."""
        import onnxruntime

        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda"):
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise InputError(
                    f"device {device}: this onnxruntime has no CUDA; install onnxruntime-gpu, or "
                    "use device cpu"
                )
            providers.insert(0, "CUDAExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0") or 0)
        options.log_severity_level = 4  # failures are raised, and told once
        try:
            # No second try with other providers: it would print to the terminal what the file says.
            return onnxruntime.InferenceSession(
                str(self.path), options, providers=providers, enable_fallback=0
            )
        except Exception as error:  # onnxruntime's errors have no root of their own
            raise InputError(
                f"{self.path}: ONNX Runtime can't use this file: {_first_line(error)}"
            ) from error

    def try_out(self, shape: tuple[int, ...], output: str) -> Array:
        """The network's output for zeros of this shape; InputError when it fails on them."""
        session = self.session()
        try:
            values: Array = session.run([output], {self.input: np.zeros(shape, np.float32)})[0]
        except Exception as error:
            hint = ""
            if shape[0] > 1:
                hint = "; if it was exported for a single one, say batch_size: 1"
            raise InputError(
                f"{self.path}: the network fails on an input of shape {_text(shape)}{hint}: "
                f"{_first_line(error)}"
            ) from error
        return values


class RowNetwork:
    """A network that puts out one row of features for each of its `items` ("images" or "patches").

    `shape` gives the input's shape for a number of items, at most `batch` at once; `declared` names
    the settings behind it. InputError, when built or asked for `columns`, where the file does not
    fit."""

    def __init__(
        self,
        path: Path,
        output: str | None,
        *,
        items: str,
        batch: int,
        shape: Callable[[int], tuple[int, ...]],
        declared: str,
    ) -> None:
        self.items = items
        self.batch = batch
        self.shape = shape
        self.file = OnnxFile.read(path)
        self.output = self.file.output(output)
        self.file.check_input(shape(batch), f"{declared}, batch_size {batch}")
        self._session: Any = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """One name for each value of a row, found by running the network once on zeros."""
        count = self.file.fixed_batch or min(self.batch, 2)
        values = self.file.try_out(self.shape(count), self.output)
        dim = self._rows(values, count).shape[1]
        return tuple(f"{self.output}_{number}" for number in range(dim))

    def prepare(self, device: str = "cpu") -> None:
        """Load the network on "cpu" or "cuda"."""
        self._session = self.file.session(device)

    def run(self, inputs: Array) -> Array:
        """(items, dim) rows of at most `batch` items, in the network's own shape."""
        count = len(inputs)
        if self.file.fixed_batch and count < self.batch:
            # The file takes whole batches only: zeros fill the last one up.
            padding = np.zeros((self.batch - count, *inputs.shape[1:]), np.float32)
            inputs = np.concatenate([inputs, padding])
        values = self._session.run([self.output], {self.file.input: inputs})[0]
        return self._rows(values, len(inputs))[:count]

    def _rows(self, values: NDArray[Any], count: int) -> Array:
        """(count, dim) of (count, dim), singleton axes aside."""
        is_rows = values.ndim >= 2 and values.shape[0] == count
        if not is_rows or values.size != count * max(values.shape[1:]):
            raise InputError(
                f"{self.file.path}: output {self.output!r} has shape {list(values.shape)} for "
                f"{count} {self.items}; expected one row each, [{self.items}, dim]; export the "
                "network with its pooling (docs/features.md)"
            )
        return np.asarray(values, dtype=np.float32).reshape(count, -1)


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    check_regular(path, "an ONNX file")
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: more than 2 GiB, which one ONNX file can't have")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise InputError(f"{path}: not an ONNX file, or cut short ({error})") from error
    if not model.graph.node:
        raise InputError(f"{path}: not an ONNX file, or cut short (no network in it)")
    return model


def _shape(entry: Any) -> Shape:
    if not entry.type.tensor_type.HasField("shape"):
        return ()
    sizes: list[int | None] = []
    for size in entry.type.tensor_type.shape.dim:
        sizes.append(size.dim_value if size.WhichOneof("value") == "dim_value" else None)
    return tuple(sizes)


def _external_problems(model: Any, path: Path) -> list[str]:
    """The problem of tensors kept in other files than the ONNX file, wherever in it they are
    named."""
    locations: list[str] = []
    for message in _messages(model):
        if type(message).__name__ == "TensorProto":
            entries = [entry for entry in message.external_data if entry.key == "location"]
            locations += [entry.value for entry in entries]
    if not locations:
        return []
    return [
        f"{path}: {len(locations)} of its tensors lie in other files ({locations[0]!r}), which its "
        "SHA-256 does not cover; make one file of it where they are: import onnx; "
        f"onnx.save(onnx.load({path.name!r}), 'one.onnx')"
    ]


def _messages(message: Any) -> Iterator[Any]:
    """All messages in a protobuf message, itself first: tensors hide in subgraphs, attributes and
    functions."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        parts = value
        if not hasattr(value, "__len__"):  # not repeated
            parts = [value]
        for part in parts:
            yield from _messages(part)


def _text(shape: Shape) -> str:
    return f"[{', '.join('free' if size is None else str(size) for size in shape)}]"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
