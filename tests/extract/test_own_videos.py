"""Own videos, no crops: faces found by an ONNX detector, cut out and written as crops, then seen by
an ONNX network."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs va-search[extract]")
pytest.importorskip("onnxruntime", reason="needs va-search[extract]")
pytest.importorskip("av", reason="needs va-search[extract]")

import av
from extract_world import write_labels, write_recipe
from onnx import helper
from onnx_world import bright_square_detector, save
from PIL import Image

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract import recording
from va_search.extract.new_videos import VideoExtractor, find_new_videos
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sources import Sources
from va_search.extract.stored_recipe import MatchedRecipe

HIDDEN = range(10, 15)  # frames, from 0, without a face


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_moving_face(path, frames=30, hidden=HIDDEN):
    """A white square of 32 pixels that wanders over black, 160 × 128, and is away in the frames
    `hidden`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = (
            160,
            128,
            "yuv420p",
            4_000_000,
        )
        for number in range(frames):
            image = np.zeros((128, 160, 3), np.uint8)
            if number not in hidden:
                left, top = 8 + 4 * number, 40 + number
                image[top : top + 32, left : left + 32] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def brightness(path):
    """A network that puts out the average of the whole crop and of its middle: (free, 3, 112, 112)
    to (free, 2)."""
    constants = [
        ("begin", np.array([30, 30])),
        ("end", np.array([80, 80])),
        ("axes", np.array([2, 3])),
    ]
    nodes = [
        helper.make_node("Slice", ["input", "begin", "end", "axes"], ["middle"]),
        helper.make_node("ReduceMean", ["middle"], ["inner"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("ReduceMean", ["input"], ["outer"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Concat", ["outer", "inner"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["features"]),
    ]
    return save(path, nodes, [("input", [None, 3, 112, 112])], [("features", [None, 2])], constants)


@pytest.fixture
def world(tmp_path):
    detector, network = (
        bright_square_detector(tmp_path / "squares.onnx"),
        brightness(tmp_path / "brightness.onnx"),
    )
    recipe = f"""
faces:
  extractor: detector
  settings:
    format: yunet
    weights: {{path: squares.onnx, sha256: {digest(detector)}}}
    input: [128, 160]
    choose: track
    same: 0.1
feature_sets:
  - name: bright
    extractor: onnx_image
    settings:
      weights: {{path: brightness.onnx, sha256: {digest(network)}}}
      size: 112
"""
    for name, split in {"one": "Train_Set", "two": "Validation_Set"}.items():
        write_moving_face(tmp_path / "videos" / f"{name}.mp4")
        write_labels(tmp_path / "labels", name, 30, split)
    path = write_recipe(tmp_path / "own.yaml", recipe)
    return path, Sources(tmp_path / "videos", tmp_path / "labels"), tmp_path / "store"


def test_videos_without_crops_become_a_store(world):
    recipe, places, to = world
    store = extract(load_recipe(recipe), places, to).store
    valid = np.ones(30, bool)
    valid[list(HIDDEN)] = False
    np.testing.assert_array_equal(store.valid, np.tile(valid, 2))
    outer, inner = store.features("bright").T
    assert inner.min() > 0.95  # the square fills the middle of every crop, wherever it went
    assert outer[10] == outer[9]  # a frame without a face takes the nearest one's features
    assert outer[14] == outer[15]
    crops = sorted(path.name for path in next(to.with_name("store.crops").rglob("one")).iterdir())
    assert crops == [
        *(f"{number + 1:05d}.jpg" for number in range(30) if number not in HIDDEN),
        "video.json",
    ]


def test_crops_are_cut_once(world):
    """The crops are there when the features are asked for again, and a crop that someone mended
    stays so."""
    recipe, places, to = world
    extract(load_recipe(recipe), places, to)
    folder = next(to.with_name("store.crops").rglob("one"))
    Image.new("RGB", (112, 112)).save(folder / "00001.jpg")
    again = extract(load_recipe(recipe), places, to.with_name("store"))
    assert again.added == ()
    other = recipe.with_name("other.yaml")
    other.write_text(recipe.read_text().replace("name: bright", "name: dark"))
    store = extract(load_recipe(other), places, to).store
    assert (store.features("dark")[0] < 0.1).all()
    np.testing.assert_array_equal(store.features("dark")[1:30], store.features("bright")[1:30])


def test_a_set_on_other_faces_is_another_set(world):
    recipe, places, to = world
    extract(load_recipe(recipe), places, to)
    recipe.write_text(recipe.read_text().replace("same: 0.1", "same: 0.2"))
    with pytest.raises(
        InputError,
        match=r"'bright' is there already and was made otherwise \(settings, weights, faces",
    ):
        extract(load_recipe(recipe), places, to)
    recipe.write_text(recipe.read_text().replace("same: 0.2", "same: 0.1"))
    assert extract(load_recipe(recipe), places, to).added == ()
    with pytest.raises(InputError, match=r"'bright' is there already and was made otherwise"):
        extract(
            load_recipe(recipe), replace(places, crops=next(to.parent.glob("store.crops/*"))), to
        )


def test_faces_are_nothing_to_crops_that_are_given(world):
    recipe, places, to = world
    extract(load_recipe(recipe), places, to.with_name("first"))
    given = replace(places, crops=next(to.parent.glob("first.crops/*")))
    extract(load_recipe(recipe), given, to)
    recipe.write_text(recipe.read_text().replace("same: 0.1", "same: 0.2"))
    assert extract(load_recipe(recipe), given, to).added == ()


def test_crops_of_a_video_that_was_replaced_are_cut_anew(world):
    recipe, places, to = world
    extract(load_recipe(recipe), places, to)
    shutil.rmtree(to)
    write_moving_face(places.videos / "one.mp4", hidden=range(20, 25))
    store = extract(load_recipe(recipe), places, to).store
    np.testing.assert_array_equal(
        np.flatnonzero(~store.valid), [*range(20, 25), *(30 + number for number in HIDDEN)]
    )


def test_crops_of_which_no_video_is_told_are_cut_anew(world):
    recipe, places, to = world
    extract(load_recipe(recipe), places, to)
    shutil.rmtree(to)
    folder = next(to.with_name("store.crops").rglob("one"))
    (folder / "video.json").unlink()
    (folder / "00001.jpg").unlink()
    assert extract(load_recipe(recipe), places, to).store.valid[0]


def test_a_detector_that_does_not_fit_is_told_before_any_video_is_read(world):
    recipe, places, to = world
    recipe.write_text(recipe.read_text().replace("format: yunet", "format: scrfd"))
    with pytest.raises(
        InputError, match=r"^\S+squares.onnx: the outputs are not those of a scrfd detector"
    ):
        extract(load_recipe(recipe), places, to)
    assert not to.exists()


def test_a_video_without_any_face_is_told_and_stops_no_other(world):
    recipe, places, to = world
    with av.open(str(places.videos / "two.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for _ in range(30):
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.zeros((128, 160, 3), np.uint8), format="rgb24")
                )
            )
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"two.mp4: no face found in any of 30 frames") as told:
        extract(load_recipe(recipe), places, to)
    assert "recording 'one'" not in str(told.value)
    write_moving_face(places.videos / "two.mp4")
    assert extract(load_recipe(recipe), places, to).recordings == 1


def test_whole_pictures_and_faces_are_decoded_once_to_the_same_crops(world, monkeypatch):
    recipe, places, to = world
    extract(load_recipe(recipe), places, to.with_name("apart"))
    both = recipe.with_name("both.yaml")
    whole = recipe.read_text().partition("feature_sets:")[2].replace("bright\n", "scene\n")
    both.write_text(
        recipe.read_text() + whole.replace("extractor: onnx", "images: frames\n    extractor: onnx")
    )
    decoded = []
    frames_of = recording.video_frames
    monkeypatch.setattr(
        recording, "video_frames", lambda *file: decoded.append(file[0].name) or frames_of(*file)
    )
    store = extract(load_recipe(both), places, to).store
    assert sorted(decoded) == ["one.mp4", "two.mp4"]
    apart = Store.open(to.with_name("apart"))
    np.testing.assert_array_equal(store.features("bright"), apart.features("bright"))
    assert store.features("scene").max() < 0.5  # the whole picture is mostly black


def test_crops_that_are_given_for_new_videos_are_read_and_never_written(world):
    recipe, places, to = world
    extract(load_recipe(recipe), places, to)
    crops = next(to.parent.glob("store.crops/*"))
    before = {path: path.read_bytes() for path in crops.rglob("*") if path.is_file()}
    given = MatchedRecipe(load_recipe(recipe), given_crops=True)
    scratch = to.with_name("scratch")
    scratch.mkdir()
    with pytest.raises(InputError, match=r"bright; give those of the new videos with --crops DIR"):
        find_new_videos([places.videos], given, scratch)
    videos = find_new_videos([places.videos], given, scratch, crops=crops).videos
    extractor = VideoExtractor(given, scratch, None, None, "cpu", False, lambda *told: None)
    extractor.prepare()
    apart = extractor.extract(videos[0])
    assert {path: path.read_bytes() for path in crops.rglob("*") if path.is_file()} == before
    # Found anew they are the same, lie among the scratch files, and go.
    found = MatchedRecipe(load_recipe(recipe), given_crops=False)
    video = find_new_videos([places.videos], found, scratch).videos[0]
    extractor = VideoExtractor(found, scratch, None, None, "cpu", False, lambda *told: None)
    extractor.prepare()
    anew = extractor.extract(video)
    np.testing.assert_array_equal(anew.part.features["bright"], apart.part.features["bright"])
    assert not any((scratch / "crops").iterdir())
    with pytest.raises(InputError, match=r"the recipe finds the faces itself; leave it out"):
        find_new_videos([places.videos], found, scratch, crops=crops)
