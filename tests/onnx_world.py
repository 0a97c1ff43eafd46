"""Tiny ONNX files that tests make: planted tensors, a detector that sees bright squares."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path, nodes, inputs, outputs, constants=()):
    """An ONNX file of these nodes; `inputs` and `outputs` are (name, shape) pairs of float32
    tensors."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return Path(path)


def planted(path, outputs, size=(64, 64)):
    """A network that answers any picture with these tensors (name -> float32 array)."""
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs]
    constants = [
        (f"{name}_value", np.asarray(value, np.float32)) for name, value in outputs.items()
    ]
    shapes = [(name, list(np.shape(value))) for name, value in outputs.items()]
    return save(path, nodes, [("input", [1, 3, *size])], shapes, constants)


def bright_square_detector(path, side=32, size=(128, 160)):
    """A YuNet-shaped detector, strides 8, 16 and 32, that sees a white square of `side` pixels as a
    face.

    Its score at a cell of stride 8 is how bright the square centred on it is, squared twice (so
    that half a square counts for little); the other strides see nothing. The landmarks are the
    template's, over the square."""
    from va_search.extract.detector import TEMPLATE

    rows, columns = size[0] // 8, size[1] // 8
    box = np.tile([0.5, 0.5, np.log(side / 8), np.log(side / 8)], (1, rows * columns, 1))
    marks = np.tile(((TEMPLATE / 112 - 0.5) * side / 8 + 0.5).ravel(), (1, rows * columns, 1))
    outputs, constants, nodes = [], [], []
    pad = (side - 8) // 2
    constants += [
        ("scale", np.float32(1 / 255)),
        ("shape8", np.array([1, rows * columns, 1], np.int64)),
    ]
    nodes += [
        helper.make_node("ReduceMean", ["input"], ["grey"], axes=[1], keepdims=1),
        helper.make_node(
            "AveragePool", ["grey"], ["bright"], kernel_shape=[side, side], strides=[8, 8], pads=[pad] * 4,
            count_include_pad=1,
        ),
        helper.make_node("Mul", ["bright", "scale"], ["share"]),
        helper.make_node("Mul", ["share", "share"], ["square"]),
        helper.make_node("Mul", ["square", "square"], ["fourth"]),
        helper.make_node("Reshape", ["fourth", "shape8"], ["cls_8"]),
    ]  # fmt: skip
    for stride in (8, 16, 32):
        count = (size[0] // stride) * (size[1] // stride)
        values = {
            "cls": np.zeros((1, count, 1)),
            "obj": np.ones((1, count, 1)),
            "bbox": box if stride == 8 else np.zeros((1, count, 4)),
            "kps": marks if stride == 8 else np.zeros((1, count, 10)),
        }
        for name, value in values.items():
            outputs.append((f"{name}_{stride}", list(value.shape)))
            if (name, stride) != ("cls", 8):
                constants.append((f"{name}_{stride}_value", value.astype(np.float32)))
                nodes.append(
                    helper.make_node("Identity", [f"{name}_{stride}_value"], [f"{name}_{stride}"])
                )
    return save(path, nodes, [("input", [1, 3, *size])], outputs, constants)
