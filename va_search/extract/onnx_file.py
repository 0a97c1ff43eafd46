"""ONNX files of the user's: what their header says, and a session that runs them.

Conventions: a shape is a tuple of sizes, None where the file leaves one free. Only float32 networks
with one input are taken. An ONNX file runs no code of its own, but it may name files its tensors
lie in: such a file is refused, since its digest says nothing of what lies elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError, unknown_name

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
        stored = {tensor.name for tensor in model.graph.initializer}
        inputs = [entry for entry in model.graph.input if entry.name not in stored]
        problems = list(_external_problems(model, path))
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

    def output(self, name: str | None) -> str:
        """The output to read: `name`, or the only one; InputError when it is not there or not the
        only one."""
        if name is None and len(self.outputs) == 1:
            return next(iter(self.outputs))
        if name is None:
            raise InputError(
                f"{self.path}: has {len(self.outputs)} outputs, say which with output: {', '.join(self.outputs)}"
            )
        if name not in self.outputs:
            raise InputError(f"{self.path}: " + unknown_name("output", name, self.outputs))
        return name

    def check_input(self, expected: Shape, declared: str) -> None:
        """InputError where the input is not of this shape; None fits any size. `declared` says what
        asked for it."""
        fits = len(self.shape) == len(expected) and all(
            None in (found, wanted) or found == wanted
            for found, wanted in zip(self.shape, expected, strict=True)
        )
        if self.shape and not fits:
            raise InputError(
                f"{self.path}: input {self.input!r} has shape {_text(self.shape)}, "
                f"but {declared} makes {_text(expected)}"
            )

    def session(self, device: str = "cpu") -> Any:
        """An onnxruntime session on "cpu" or "cuda"; InputError when the file or the device can't
        be used.

        It takes as many threads as OMP_NUM_THREADS says, all cores where that is unset.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0") or 0)
        options.log_severity_level = 4  # what fails is raised, and told once
        try:
            return onnxruntime.InferenceSession(
                str(self.path), options, providers=_providers(device)
            )
        except InputError:
            raise
        except Exception as error:  # onnxruntime's errors have no root of their own
            raise InputError(
                f"{self.path}: ONNX Runtime can't use this file: {_first_line(error)}"
            ) from error

    def try_out(self, shape: tuple[int, ...], output: str) -> Array:
        """What the network puts out for noughts of this shape; InputError when it can't."""
        try:
            values: Array = self.session().run([output], {self.input: np.zeros(shape, np.float32)})[
                0
            ]
        except InputError:
            raise
        except Exception as error:
            hint = (
                "; if it was exported for a single one, say batch_size: 1" if shape[0] > 1 else ""
            )
            raise InputError(
                f"{self.path}: the network fails on an input of shape {_text(shape)}{hint}: {_first_line(error)}"
            ) from error
        return values


def _load(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (DecodeError, IsADirectoryError) as error:
        raise InputError(f"{path}: not an ONNX file, or cut short ({error})") from error
    if not model.graph.node:
        raise InputError(f"{path}: not an ONNX file, or cut short (no network in it)")
    return model


def _shape(entry: Any) -> Shape:
    if not entry.type.tensor_type.HasField("shape"):
        return ()
    sizes = entry.type.tensor_type.shape.dim
    return tuple(
        size.dim_value if size.WhichOneof("value") == "dim_value" else None for size in sizes
    )


def _external_problems(model: Any, path: Path) -> Iterator[str]:
    """What to do about tensors kept in other files than the ONNX file, wherever in it they are
    named."""
    tensors = (message for message in _messages(model) if type(message).__name__ == "TensorProto")
    found = [
        entry.value
        for tensor in tensors
        for entry in tensor.external_data
        if entry.key == "location"
    ]
    if found:
        yield (
            f"{path}: {len(found)} of its tensors lie in other files ({found[0]!r}), which its SHA-256 does not cover; "
            f"make one file of it where they are: import onnx; onnx.save(onnx.load({path.name!r}), 'one.onnx')"
        )


def _messages(message: Any) -> Iterator[Any]:
    """All messages in a protobuf message, itself first: tensors hide in subgraphs, attributes and
    functions."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if hasattr(value, "__len__") else [value]:
            yield from _messages(part)


def _providers(device: str) -> list[str]:
    import onnxruntime

    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise InputError(
            f"device {device}: this onnxruntime has no CUDA; install onnxruntime-gpu, or use device cpu"
        )
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _text(shape: Shape) -> str:
    return f"[{', '.join('free' if size is None else str(size) for size in shape)}]"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
