"""The OpenVINO engine answers as the torch engine does: every architecture, output and family."""

import math
import pickle
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import twinlens
from tests.inference.test_openvino_graph import IMAGE_TOWERS, TEXT_TOWERS, model_of
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens import Embedder
from twinlens.checkpoints.formats.storage.arrays import write_arrays
from twinlens.checkpoints.native import save_model
from twinlens.checkpoints.recognise import open_checkpoint
from twinlens.checkpoints.torch_arrays import to_arrays
from twinlens.checkpoints.weights import LazyWeights
from twinlens.errors import CheckpointError, ConfigError, ShapeError
from twinlens.inference.compiled_cache import (
    CompiledFile,
    default_compiled_dir,
    list_compiled,
)
from twinlens.inference.engine import check_pixel_batch
from twinlens.inference.openvino_engine import OpenVINOEngine, has_fast_bf16
from twinlens.model import presets
from twinlens.model.clip import CLIP
from twinlens.types import TowerSelection

TOLERANCE = 2e-5


def compiled_files() -> list[CompiledFile]:
    return list_compiled(default_compiled_dir())


TEXTS = ["a cat", "a cat on a mat", "", "a dog", "a cat", "the cat sat"]


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (40, 36 + n, 3), np.uint8) for n in range(5)]


def both_engines(model: CLIP, directory: Path) -> tuple[Embedder, Embedder]:
    save_model(model, directory)
    return (
        twinlens.load(directory, engine="openvino", precision="fp32"),
        twinlens.load(directory, engine="torch", precision="fp32", device="cpu"),
    )


def assert_close(ours: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert ours.dtype == expected.dtype == np.float32
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max(initial=0) < tolerance


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_every_image_output(name: str, images: list[np.ndarray], tmp_path: Path):
    vision = IMAGE_TOWERS[name]
    width = getattr(vision, "width", 8)
    embed_dim = width if getattr(vision, "projection", "linear") == "none" else 8
    ours, expected = both_engines(
        model_of(vision=vision, text=None, embed_dim=embed_dim), tmp_path / "model"
    )
    assert (ours.engine.name, expected.engine.name) == ("openvino", "torch")
    assert_close(ours.embed_images(images), expected.embed_images(images))
    assert_close(ours.embed_images([]), expected.embed_images([]))
    features = ours.probe_features(images)[0]
    assert_close(features, expected.probe_features(images)[0])
    assert features.shape[1] == ours.probe_width == expected.probe_width
    assert_close(ours.project(features), ours.embed_images(images))
    outputs = ["patches"] if name.endswith("resnet") else ["patches", "hidden:0", "hidden:-2"]
    for output in outputs:
        for some in (images, []):
            assert_close(
                ours.encode(images=some, output=output), expected.encode(images=some, output=output)
            )


@pytest.mark.parametrize("name", TEXT_TOWERS)
def test_every_text_output(name: str, tmp_path: Path):
    text = replace(TEXT_TOWERS[name], vocab_size=CLIP_VOCABULARY)
    if text.pooling == "end":
        text = replace(text, end_id=CLIP_VOCABULARY - 1)
    embed_dim = text.width if text.projection == "none" else 8
    model = model_of(vision=None, preprocess=None, text=text, embed_dim=embed_dim)
    ours, expected = both_engines(model, tmp_path / "model")
    assert_close(ours.embed_texts(TEXTS), expected.embed_texts(TEXTS))
    assert_close(ours.embed_texts([]), expected.embed_texts([]))
    for output in ("hidden:-2", "hidden:-1", "hidden:0"):
        for some in (TEXTS, []):
            assert_close(
                ours.encode(texts=some, output=output), expected.encode(texts=some, output=output)
            )


def test_answers_do_not_depend_on_the_batch(images: list[np.ndarray], tmp_path: Path):
    ours, _ = both_engines(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    together = ours.embed_images(images)
    alone = np.concatenate([ours.embed_images(image) for image in images])
    assert_close(together, alone, 1e-5)
    texts = np.concatenate([ours.embed_texts(text) for text in TEXTS])
    assert_close(ours.embed_texts(TEXTS), texts, 1e-5)


def test_the_model_is_torch_s_and_its_scale_is_ours(tmp_path: Path):
    ours, expected = both_engines(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    assert isinstance(ours.model, CLIP)
    assert ours.model is ours.model
    assert ours.logit_scale == expected.logit_scale


@pytest.mark.parametrize("towers", ["image", "text"])
def test_one_tower_keeps_the_temperature_of_the_file(towers: TowerSelection, tmp_path: Path):
    model = tiny_clip(vocab_size=CLIP_VOCABULARY, logit_bias=True)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
    save_model(model, tmp_path / "model")
    for engine in ("openvino", "torch"):
        lens = twinlens.load(tmp_path / "model", engine=engine, device="cpu", towers=towers)
        assert lens.logit_scale == pytest.approx(math.exp(1.5))


def test_weights_of_one_tower_may_lack_what_belongs_to_both(tmp_path: Path):
    model = tiny_clip(vocab_size=CLIP_VOCABULARY, logit_bias=True)
    save_model(model, tmp_path / "model")
    arrays = to_arrays(model.state_dict())
    kept = {name: value for name, value in arrays.items() if name.startswith("image_tower.")}
    write_arrays(kept, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "checksums.json").unlink()
    for engine in ("openvino", "torch"):
        lens = twinlens.load(tmp_path / "model", engine=engine, device="cpu", towers="image")
        assert lens.logit_scale == pytest.approx(10)
    with pytest.raises(CheckpointError, match="logit_bias"):
        twinlens.load(tmp_path / "model")


def test_bf16_is_near(images: list[np.ndarray], tmp_path: Path):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    exact = twinlens.load(tmp_path / "model", engine="openvino", precision="fp32")
    ours = twinlens.load(tmp_path / "model", engine="openvino", precision="bf16")
    for found, expected in (
        (ours.embed_images(images), exact.embed_images(images)),
        (ours.embed_texts(TEXTS), exact.embed_texts(TEXTS)),
    ):
        assert (found * expected).sum(axis=1).min() > 0.999
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_decoded_pixels_of_any_size(tmp_path: Path):
    ours, expected = both_engines(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32), np.uint8)
    assert_close(ours.embed_pixels(pixels), expected.embed_pixels(pixels))
    wide = np.asarray(Image.new("RGB", (64, 48), "teal")).transpose(2, 0, 1)[None]
    assert_close(ours.embed_pixels(wide), expected.embed_pixels(wide), 1e-3)
    for wrong in (pixels.astype(np.float32), pixels[0], "pixels", np.zeros((1, 3, 4, 900), "u1")):
        with pytest.raises(ShapeError, match="expected"):
            check_pixel_batch(wrong)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": [], "texts": []}, "got both of images and texts"),
        ({}, "got neither of images and texts"),
        ({"images": [], "output": "hidden"}, "expected 'embedding', 'patches' or hidden"),
        ({"images": [], "output": "hidden:9"}, "expected hidden:-3 to hidden:2"),
        ({"texts": [], "output": "patches"}, "expected 'embedding' or hidden states"),
    ],
)
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_outputs_that_there_are_not(
    engine: Any, given: dict[str, Any], message: str, tmp_path: Path
):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    lens = twinlens.load(tmp_path / "model", engine=engine, device="cpu")
    with pytest.raises(ConfigError, match=message):
        lens.encode(**given)


def test_a_tower_that_was_not_loaded(tmp_path: Path):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    lens = twinlens.load(tmp_path / "model", engine="openvino", towers="image")
    with pytest.raises(ConfigError, match="loaded without its text tower"):
        lens.embed_texts("a cat")


def test_a_damaged_checkpoint_is_refused_at_once_and_nothing_is_cached(tmp_path: Path):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-9] ^= 64
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"got (crc32|inf)"):
        twinlens.load(tmp_path / "model", engine="openvino")
    assert all(file.model != str(tmp_path / "model") for file in compiled_files())


def test_one_thread_s_failure_leaves_the_others_their_tower(images: list[np.ndarray]):
    expected = twinlens.load("icons", engine="openvino").embed_images(images)  # cached now
    lens = twinlens.load("icons", engine="openvino")
    wrong: list[object] = []

    def fail() -> None:
        for _ in range(20):
            try:
                lens.engine.encode_images([np.zeros((1, 5, 5, 3), np.uint8)])
            except RuntimeError:
                continue
            wrong.append("no error")

    def answer() -> None:
        for _ in range(20):
            try:
                assert_close(lens.embed_images(images), expected, 1e-5)
            except Exception as error:
                wrong.append(error)

    threads = [Thread(target=one) for one in (answer, fail, answer, fail)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_states_of_the_embedded_model_are_near_by_their_size(images: list[np.ndarray]):
    ours, expected = (
        twinlens.load("icons", engine=engine, device="cpu", precision="fp32")
        for engine in ("openvino", "torch")
    )
    texts = [f"a {word} drawing of a {noun}" for word in ["red", "big", "old"] for noun in TEXTS]
    for given, output in (
        ({"texts": texts}, "embedding"),
        ({"texts": texts}, "hidden:-2"),
        ({"texts": texts}, "hidden:-1"),
        ({"images": images}, "embedding"),
        ({"images": images}, "patches"),
    ):
        theirs = expected.encode(output=output, **given)
        largest = max(1, float(np.abs(theirs).max()))
        assert_close(ours.encode(output=output, **given), theirs, TOLERANCE * largest)


def test_threads_take_turns(images: list[np.ndarray], tmp_path: Path):
    ours, _ = both_engines(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    expected, got = ours.embed_images(images), []
    threads = [Thread(target=lambda: got.append(ours.embed_images(images))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert all(np.array_equal(one, expected) for one in got)


def test_large_models_are_in_bf16_where_the_processor_multiplies_it(tmp_path: Path):
    tiny = tiny_clip(vocab_size=CLIP_VOCABULARY)
    save_model(tiny, tmp_path / "model")
    weights = LazyWeights(open_checkpoint(tmp_path / "model"))
    assert OpenVINOEngine(weights, "auto", None).precision == "fp32"
    weights.config = presets.vit_b_32()
    fast = "bf16" if has_fast_bf16() else "fp32"
    assert OpenVINOEngine(weights, "auto", None).precision == fast


def test_images_of_another_size(images: list[np.ndarray], tmp_path: Path):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    ours, expected = (
        twinlens.load(tmp_path / "model", engine=engine, image_size=48, precision="fp32")
        for engine in ("openvino", "torch")
    )
    assert ours.config.preprocess_config.image_size == 48
    assert_close(ours.embed_images(images), expected.embed_images(images))


def test_sent_to_another_process(images: list[np.ndarray], tmp_path: Path):
    ours, _ = both_engines(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    sent = pickle.loads(pickle.dumps(ours))
    assert np.array_equal(sent.embed_images(images), ours.embed_images(images))


def test_no_pixels_have_no_embeddings_and_break_nothing(tmp_path: Path):
    for lens in both_engines(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model"):
        pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 32), np.uint8)
        expected = lens.embed_pixels(pixels)
        for none in (pixels[:0], np.zeros((0, 3, 48, 64), np.uint8)):
            assert lens.embed_pixels(none).shape == (0, 8)
        assert np.array_equal(lens.embed_pixels(pixels), expected)


def test_projection_needs_the_image_tower(tmp_path: Path):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path / "model")
    for engine in ("openvino", "torch"):
        lens = twinlens.load(tmp_path / "model", engine=engine, towers="text", device="cpu")
        with pytest.raises(ConfigError, match="loaded without its image tower"):
            lens.project(np.zeros((1, 8), np.float32))
