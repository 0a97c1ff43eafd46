"""Files of single formats: small valid ones, and what reading one gives.

Conventions: `write_…` makes a folder with one file called `file`, `read_…` gives its result as
text."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather

from fuzz.valid import numbers

EAF = """\
<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/>
<TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="60"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="120"/>
</TIME_ORDER>
<TIER TIER_ID="valence">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>0.5</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE>-0.25</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
</ANNOTATION_DOCUMENT>
"""


def _columns() -> dict[str, np.ndarray]:
    return numbers(1, ("rate", "pulse"))


def _matrix() -> np.ndarray:
    """(FRAMES, 2)."""
    return np.stack(list(_columns().values()), axis=1)


def write_npz(folder: Path) -> None:
    """Two arrays of one dimension."""
    folder.mkdir()
    columns: dict[str, Any] = dict(_columns())
    np.savez_compressed(folder / "file.npz", **columns)


def write_mat(folder: Path) -> None:
    """A compressed matrix."""
    import scipy.io

    folder.mkdir()
    scipy.io.savemat(folder / "file.mat", {"v": _matrix()}, do_compression=True)


def write_hdf5(folder: Path) -> None:
    """One dataset in a group."""
    import h5py

    folder.mkdir()
    with h5py.File(folder / "file.h5", "w") as root:
        root.create_dataset("a/v", data=_matrix(), chunks=(4, 2), compression="gzip")


def write_hdf5_frames(folder: Path) -> None:
    """A dataset for each frame."""
    import h5py

    folder.mkdir()
    with h5py.File(folder / "file.h5", "w") as root:
        for frame, row in enumerate(_matrix()):
            root[f"a/{frame + 1:05d}"] = row


def write_feather(folder: Path) -> None:
    """Compressed columns of numbers and of texts."""
    folder.mkdir()
    table = pa.table({**_columns(), "name": pa.array(["a", "b"] * 6).dictionary_encode()})
    pyarrow.feather.write_feather(table, folder / "file.feather", compression="lz4", chunksize=5)


def write_arff(folder: Path) -> None:
    """Two attributes."""
    folder.mkdir()
    rows = "".join(f"{first:g},{second:g}\n" for first, second in _matrix())
    head = "@relation x\n@attribute rate numeric\n@attribute 'pulse x' numeric\n\n@data\n"
    (folder / "file.arff").write_text(head + rows)


def write_gzipped(folder: Path) -> None:
    """A compressed CSV."""
    folder.mkdir()
    rows = "".join(f"{first:g},{second:g}\n" for first, second in _matrix())
    (folder / "file.csv.gz").write_bytes(gzip.compress(f"rate,pulse\n{rows}".encode()))


def write_eaf(folder: Path) -> None:
    """A tier of two annotations."""
    folder.mkdir()
    (folder / "file.eaf").write_text(EAF)


def read_format(folder: Path, shared: Path) -> str:
    """Names and numbers of the columns, and the cells of the last as texts."""
    from va_search.data.readers import read_features, read_header, read_strings

    file = _only_file(folder)
    header = read_header(file)
    named = [name for name in header if name != "name"]
    values = read_features(file, named)
    texts = read_strings(file, header[-1])
    return repr((header, values.shape, _digest(values), texts[:20], len(texts)))


def _only_file(folder: Path) -> Path:
    """The folder's file; where it is missing, a name that is not there."""
    return next(iter(sorted(folder.iterdir())), folder / "file.h5")


def write_json(folder: Path) -> None:
    """A document such as a record."""
    folder.mkdir()
    text = '{"id": "a1", "settings": {"features": ["face"], "epochs": 3}, "best": {"score": 0.5}}'
    (folder / "file.json").write_text(text)


def read_json_file(folder: Path, shared: Path) -> str:
    """The document."""
    from va_search.files import read_json

    return repr(read_json(folder / "file.json"))


def write_onnx(folder: Path) -> None:
    """A network of one layer that averages pictures."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder.mkdir()
    weight = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weight, "weight")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), folder / "file.onnx")


def read_onnx(folder: Path, shared: Path) -> str:
    """The header, and what the network puts out."""
    from va_search.extract.onnx_file import OnnxFile

    file = OnnxFile.read(folder / "file.onnx")
    file.check_input((2, 3, 8, 8), "size")
    values = file.try_out((2, 3, 8, 8), file.output(None))
    return repr((file.input, file.shape, file.outputs, values.shape, _digest(values)))


def write_weights(folder: Path) -> None:
    """Weights of a small trained model, as a trial keeps them."""
    import torch

    from va_search.data.store import Store
    from va_search.targets import names
    from va_search.training.predict import build_model
    from va_search.training.weights import save_model
    from va_search.trial_settings import TrialSettings

    folder.mkdir()
    store = Store.open(folder.parents[1] / "store")
    settings = TrialSettings(
        features=("heart",), width=4, layers=1, epochs=1, normalise="recording"
    )
    torch.manual_seed(0)
    model = build_model(settings, [store.feature_sets["heart"]], names(store.targets))
    unused: Any = None  # each recording is normalised by its own statistics
    save_model(
        folder / "valence.safetensors",
        {1: model.state_dict()},
        settings=settings,
        store=store,
        statistics=unused,
        about={"dimension": "valence", "epoch": 1},
    )


def read_weights(folder: Path, shared: Path) -> str:
    """What the model predicts for a store's test recordings."""
    from va_search.data.store import Store
    from va_search.training.weights import load_model

    store = Store.open(shared / "store")
    model = load_model(folder, "valence")
    return _digest(model.predict(store, store.split("test")))


def write_sound(folder: Path) -> None:
    """A second of noise."""
    folder.mkdir()
    samples = np.random.default_rng(0).integers(-999, 999, 8000).astype("<i2")
    with wave.open(str(folder / "file.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())


def video_writer(suffix: str, codec: str) -> Callable[[Path], None]:
    """The function that writes a video of ten frames in a container."""

    def write(folder: Path) -> None:
        import av

        folder.mkdir()
        with av.open(str(folder / f"file{suffix}"), "w") as container:
            stream: Any = container.add_stream(codec, rate=Fraction(10))
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for number in range(10):
                picture = np.full((32, 32, 3), 20 * number, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return write


def read_media(folder: Path, shared: Path) -> str:
    """Times of frames and sound, and the samples or pictures decoded."""
    import av

    from va_search.extract.timeline import opened, read_timeline

    file = _only_file(folder)
    timeline = read_timeline(file)
    count = 0
    with opened(file) as container:
        for frame in container.decode():
            count += 1
            assert isinstance(frame, av.VideoFrame | av.AudioFrame)
    return repr((timeline.frames.tolist(), timeline.tracks, timeline.nominal, count))


LISTING = '{"files": [["study/a1/trial.json", 120], ["study/a1/test.arrow", 4000], ["x/y", 0]]}'
"""A bucket's answer: names and sizes."""


def write_listing(folder: Path) -> None:
    """An answer of object storage."""
    folder.mkdir()
    (folder / "file.json").write_text(LISTING)


def read_listing(folder: Path, shared: Path) -> str:
    """The files that are taken for such a place's; names that would leave a folder are refused."""
    from va_search.files import read_json
    from va_search.storage.objects import RemoteFile
    from va_search.storage.remote import Remote

    document = read_json(folder / "file.json")
    try:
        files = {name: RemoteFile(int(size), 0) for name, size in document["files"]}
        names = all(isinstance(name, str) for name in files)
    except (TypeError, KeyError, ValueError, OverflowError):
        return "no listing"  # what no server can answer: obstore hands over names and sizes
    if not names:
        return "no listing"
    remote = Remote(f"file://{folder}", patience=0.0)
    remote._objects = SimpleNamespace(list=lambda folder: files)
    brought = remote.list()
    root = Path("/root/of/a/home")
    for name in brought:
        assert (root / name).resolve().is_relative_to(root), name
    return repr(brought)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


ANSWERS = """\
{"experiments/search": {"experiments": [{"experiment_id": "1", "name": "s", "artifact_location": "/a",
 "lifecycle_stage": "active", "tags": [{"key": "va_search.study", "value": "s"}]}]},
 "runs/search": {"runs": [{"info": {"run_id": "r1", "run_uuid": "r1", "experiment_id": "1",
 "status": "FINISHED", "start_time": 1700000000000, "end_time": 1700000001000, "run_name": "x",
 "artifact_uri": "/a/r1", "lifecycle_stage": "active", "user_id": "u"},
 "data": {"tags": [{"key": "va_search.trial", "value": "t1"}],
 "metrics": [{"key": "score", "value": 0.5, "timestamp": 1700000001000, "step": 1}],
 "params": [{"key": "seed", "value": "0"}]}, "inputs": {}}]}}
"""
"""What an MLflow server answers, by the end of the path that is asked for."""


def write_answers(folder: Path) -> None:
    """Answers of an MLflow server."""
    folder.mkdir()
    (folder / "file.json").write_text(ANSWERS)


def read_answers(folder: Path, shared: Path) -> str:
    """The runs that MLflow's client makes of the answers."""
    from va_search.tracking.door import every_run, open_client
    from va_search.tracking.models import answered

    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "5"
    file = folder / "file.json"
    content = file.read_bytes() if file.is_file() and file.stat().st_size < 1 << 24 else b""
    with _server(content) as uri, answered(uri):
        runs = every_run(open_client(uri), "1")
        return repr([(run.info.run_id, run.info.status, run.data.tags) for run in runs])


@contextmanager
def _server(content: bytes) -> Iterator[str]:
    """The address of a server on loopback that answers with parts of a JSON document, or with all
    of it where it is none."""
    try:
        parts = json.loads(content)
        answers = {path: json.dumps(answer).encode() for path, answer in parts.items()}
    except (ValueError, AttributeError, RecursionError):
        answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = [answer for path, answer in answers.items() if self.path.endswith(path)]
            body = (asked or [content])[0]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *parts: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
