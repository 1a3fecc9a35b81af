"""Embeddings, classification and scores of the object that most users meet."""

import copy
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import twinlens
from tests.text.sentencepiece.vocabularies import trained
from tests.tiny import CLIP_VOCABULARY, tiny_clip
from twinlens import Embedder
from twinlens.checkpoints.native import save_model
from twinlens.embed.labels import group_duplicate_labels, validate_labels
from twinlens.errors import CheckpointError, ConfigError, DataError, ShapeError, UnknownNameError
from twinlens.eval.prompts import imagenet_classnames
from twinlens.inference.engine import check_pixel_batch
from twinlens.model.clip import CLIP
from twinlens.model.precision import BF16_MIN_PARAMETERS, pick_precision
from twinlens.text.clip_bpe import Tokenizer
from twinlens.text.sentencepiece import SentencePieceTokenizer
from twinlens.types import Precision


@pytest.fixture(scope="module")
def lens(tiny_directory: Path) -> Embedder:
    return twinlens.load(tiny_directory, device="cpu")


@pytest.fixture(scope="module")
def exact(tiny_directory: Path) -> Embedder:
    return twinlens.load(tiny_directory, device="cpu", decode="exact")


@pytest.fixture(scope="module")
def paths(image_folders: Path) -> list[Path]:
    return sorted(image_folders.glob("*/*.png"))


def test_embeddings_are_float32_unit_vectors(lens: Embedder, paths: list[Path]):
    for embeddings, count in (
        (lens.embed_images(paths), len(paths)),
        (lens.embed_texts(["a cat", "a dog on a bicycle"]), 2),
    ):
        assert embeddings.dtype == np.float32
        assert embeddings.shape == (count, lens.config.embed_dim)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_embeddings_are_those_of_the_model(exact: Embedder, paths: list[Path]):
    pixels = np.stack([exact.preprocess(path) for path in paths])
    with torch.inference_mode():
        images = exact.model.encode_image(pixels, normalize=True).numpy()
        tokens = twinlens.tokenize(["a cat"], context_length=24)
        texts = exact.model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(exact.embed_images(paths), images, atol=1e-6)
    np.testing.assert_allclose(exact.embed_texts("a cat"), texts, atol=1e-6)


def test_an_embedding_does_not_depend_on_its_batch(tiny_model: CLIP, paths: list[Path]):
    texts = ["cat", "a very long sentence about a dog that rides a bicycle", "!", "", "a cat"]
    whole = Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu")
    small = Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu", batch_size=1)
    for batched, single in (
        (whole.embed_images(paths), np.concatenate([whole.embed_images(p) for p in paths])),
        (whole.embed_images(paths), small.embed_images(paths)),
        (whole.embed_texts(texts), np.concatenate([whole.embed_texts(t) for t in texts])),
        (whole.embed_texts(texts * 3)[5:10], small.embed_texts(texts)),
    ):
        np.testing.assert_allclose(batched, single, atol=1e-5)


def test_every_kind_of_image_is_the_same_image(lens: Embedder, paths: list[Path]):
    image = Image.open(paths[0])
    kinds = [paths[0], str(paths[0]), paths[0].read_bytes(), image, np.asarray(image)]
    expected = lens.embed_images(paths[0])
    assert expected.shape == (1, lens.config.embed_dim)
    for kind in kinds:  # one by one, and together
        np.testing.assert_allclose(lens.embed_images(kind), expected, atol=1e-6)
    together = lens.embed_images(iter(kinds))
    np.testing.assert_allclose(together, np.repeat(expected, 5, axis=0), atol=1e-5)


def test_a_stack_of_arrays_is_several_images(lens: Embedder):
    stack = np.zeros((3, 32, 32, 3), np.uint8)
    assert lens.embed_images(stack).shape[0] == 3


def test_nothing_in_gives_nothing_out(lens: Embedder):
    for embeddings in (lens.embed_images([]), lens.embed_texts([])):
        assert embeddings.shape == (0, lens.config.embed_dim)
        assert embeddings.dtype == np.float32
    assert lens.classify([], ["cat", "dog"]) == []
    assert lens.score([], ["cat"]).shape == (0, 1)


def test_preprocess_gives_the_model_s_input(lens: Embedder, paths: list[Path]):
    pixels = lens.preprocess(paths[0])
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32


def test_score_is_the_cosine(lens: Embedder, paths: list[Path]):
    texts = ["a cat", "a dog"]
    expected = lens.embed_images(paths) @ lens.embed_texts(texts).T
    np.testing.assert_allclose(lens.score(paths, texts), expected, atol=1e-6)


def test_classify_is_softmax_of_the_model_s_logits(exact: Embedder, paths: list[Path]):
    labels = ["cat", "dog", "bicycle"]
    [best] = exact.classify(paths[0], labels)
    with torch.inference_mode():
        tokens = twinlens.tokenize([f"a photo of a {label}." for label in labels], 24)
        logits, _ = exact.model(exact.preprocess(paths[0])[None], tokens)
    expected = dict(zip(labels, logits.softmax(dim=1)[0].tolist(), strict=True))
    assert {one.label: one.probability for one in best} == pytest.approx(expected, abs=1e-5)
    assert [one.probability for one in best] == sorted(expected.values(), reverse=True) or (
        best == sorted(best, key=lambda one: -one.probability)
    )


def test_classify_does_not_depend_on_the_order_of_labels(lens: Embedder, paths: list[Path]):
    labels = ["cat", "dog", "bicycle"]
    forward, backward = lens.classify(paths, labels), lens.classify(paths, labels[::-1])
    for one, other in zip(forward, backward, strict=True):
        assert [p.label for p in one] == [p.label for p in other]


def test_the_classifier_averages_templates(lens: Embedder):
    templates = ["a photo of a {}.", "the {}"]
    mean = lens.embed_texts("a photo of a cat.") + lens.embed_texts("the cat")
    expected = mean[0] / np.linalg.norm(mean)
    classifier = lens.zero_shot_classifier(["cat", "dog"], templates)
    assert classifier.shape == (lens.config.embed_dim, 2)
    np.testing.assert_allclose(classifier[:, 0], expected, atol=1e-6)


def test_a_label_with_braces_is_only_text(lens: Embedder):
    expected = lens.embed_texts("a {0} b")[0]
    np.testing.assert_allclose(
        lens.zero_shot_classifier(["{0}"], ["a {} b"])[:, 0], expected, atol=1e-6
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels: got none"),
        (["cat", " "], "number 2 is empty"),
        (
            ["cat", " ".join(["word"] * 200)],
            "got .* tokens with start and end, expected at most 24",
        ),
    ],
)
def test_bad_labels_are_one_clear_line(lens: Embedder, labels: list[str], message: str):
    with pytest.raises(DataError, match=message) as caught:
        lens.classify(np.zeros((32, 32, 3), np.uint8), labels)
    assert "\n" not in str(caught.value)


def test_no_classes_have_an_empty_classifier(lens: Embedder):
    assert lens.zero_shot_classifier([]).shape == (lens.config.embed_dim, 0)


@pytest.mark.parametrize("templates", [["a photo"], ["{}", "a photo"], []])
def test_a_template_needs_its_place_for_the_label(lens: Embedder, templates: list[str]):
    with pytest.raises(ConfigError, match="template"):
        lens.classify(np.zeros((32, 32, 3), np.uint8), ["cat"], templates)


def test_labels_that_say_the_same_are_one(lens: Embedder):
    image = np.zeros((32, 32, 3), np.uint8)
    labels = ["Cat", "dog", "cat ", "a  cat", "caf\u00e9", "A cat", "caf&eacute;", "dog"]
    distinct = ["Cat", "dog", "a  cat", "caf\u00e9"]
    [once], [again] = lens.classify(image, distinct), lens.classify(image, labels)
    assert again == once
    assert sum(one.probability for one in again) == pytest.approx(1)
    assert group_duplicate_labels(labels, lens.tokenizer) == {
        "Cat": ["cat"],
        "dog": ["dog"],
        "a  cat": ["A cat"],
        "caf\u00e9": ["caf&eacute;"],
    }


def test_imagenets_own_names_can_be_asked(lens: Embedder):
    [answers] = lens.classify(np.zeros((32, 32, 3), np.uint8), imagenet_classnames(), ["{}"])
    assert len({one.label for one in answers}) == len(answers) < 1000


def test_labels_lose_the_blanks_around_them():
    assert validate_labels([" cat", "dog\n"]) == ["cat", "dog"]


def test_labels_may_differ_in_case_alone_where_the_model_keeps_it(tmp_path: Path):
    (tmp_path / "spiece.model").write_bytes(trained("gemma plain"))
    case_sensitive = SentencePieceTokenizer.from_directory(tmp_path, "whitespace")
    assert validate_labels(["Cat", "cat"], case_sensitive) == ["Cat", "cat"]
    assert validate_labels(["a cat", "a  cat"], case_sensitive) == ["a cat"]


def test_an_unreadable_image_is_an_error_that_names_it(lens: Embedder, tmp_path: Path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png"):
        lens.embed_images([bad])


def test_readable_images_are_embedded_beside_unreadable_ones(tiny_model: CLIP, paths: list[Path]):
    lens = Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu", batch_size=2)
    mixed = [paths[0], b"no", b"image", b"at all", paths[1], Path("/nowhere.png"), paths[2]]
    embeddings, failures = lens.embed_readable_images(mixed)
    assert list(failures) == [1, 2, 3, 5]
    assert "/nowhere.png" in str(failures[5])
    np.testing.assert_allclose(embeddings, lens.embed_images(paths[:3]), atol=1e-5)


def test_one_tower_answers_and_the_other_says_it_is_missing(
    lens: Embedder, tiny_directory: Path, paths: list[Path]
):
    eyes = twinlens.load(tiny_directory, towers="image", device="cpu")
    np.testing.assert_array_equal(eyes.embed_images(paths), lens.embed_images(paths))
    with pytest.raises(ConfigError, match="without its text tower"):
        eyes.embed_texts("a cat")
    reader = twinlens.load(tiny_directory, towers="text", device="cpu")
    np.testing.assert_array_equal(reader.embed_texts("a cat"), lens.embed_texts("a cat"))
    with pytest.raises(ConfigError, match="without its image tower"):
        reader.embed_images(paths)


def test_bf16_is_close_and_keeps_the_scale_exact(
    lens: Embedder, tiny_directory: Path, paths: list[Path]
):
    half = twinlens.load(tiny_directory, engine="torch", precision="bf16", device="cpu")
    assert next(half.model.image_tower.parameters()).dtype == torch.bfloat16
    assert half.model.logit_scale.item() == lens.model.logit_scale.item()
    for exact, rounded in (
        (lens.embed_images(paths), half.embed_images(paths)),
        (lens.embed_texts(["a cat", "dog"]), half.embed_texts(["a cat", "dog"])),
    ):
        assert rounded.dtype == np.float32
        assert ((exact * rounded).sum(axis=1) > 0.999).all()


def test_the_model_handed_in_stays_as_it_is(tiny_model: CLIP):
    half = Embedder.from_model(tiny_model, Tokenizer.clip(), precision="bf16", device="cpu")
    assert half.model is not tiny_model
    assert {parameter.dtype for parameter in tiny_model.parameters()} == {torch.float32}
    assert Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu").model is tiny_model


def test_precision_auto_needs_size_and_hardware(monkeypatch: pytest.MonkeyPatch, tiny_model: CLIP):
    def precision(bf16: bool, smallest: int) -> str:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})
        monkeypatch.setattr("twinlens.model.precision.BF16_MIN_PARAMETERS", smallest)
        return Embedder.from_model(tiny_model, Tokenizer.clip(), device="cpu").precision

    assert precision(True, 0) == "bf16"
    assert precision(False, 0) == "fp32"
    assert precision(True, BF16_MIN_PARAMETERS) == "fp32"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "gpu"}, ConfigError, "device: got 'gpu'"),
        ({"precision": "fp23"}, UnknownNameError, "did you mean 'fp32'"),
        ({"towers": "texts"}, UnknownNameError, "did you mean 'text'"),
    ],
)
def test_wrong_options_are_one_clear_line(
    tiny_directory: Path, options: dict[str, str], error: type[Exception], message: str
):
    with pytest.raises(error, match=message) as caught:
        twinlens.load(tiny_directory, **options)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)


def test_unknown_models_suggest_and_missing_directories_say_so(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="did you mean 'icons'"):
        twinlens.load("icon")
    with pytest.raises(CheckpointError, match="no such directory"):
        twinlens.load(tmp_path / "none")


def test_bytes_of_an_encoded_image_need_no_file(lens: Embedder):
    out = io.BytesIO()
    Image.new("RGB", (10, 20), "red").save(out, "png")
    assert lens.embed_images(out.getvalue()).shape == (1, lens.config.embed_dim)


@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
def test_8_bits_are_close_and_neither_copied_nor_saved(
    precision: Precision, lens: Embedder, tiny_directory: Path, tmp_path: Path, paths: list[Path]
):
    small = twinlens.load(tiny_directory, precision=precision, device="cpu")
    for exact, rounded in (
        (lens.embed_images(paths), small.embed_images(paths)),
        (lens.embed_texts(["a cat", "dog"]), small.embed_texts(["a cat", "dog"])),
    ):
        assert ((exact * rounded).sum(axis=1) > 0.998).all()
    again = Embedder.from_model(small.model, small.tokenizer, precision=precision, device="cpu")
    assert again.model is small.model
    with pytest.raises(CheckpointError, match="8 bits"):
        save_model(small.model, tmp_path / "small")
    with pytest.raises(ConfigError, match="8 bits"):
        Embedder.from_model(small.model, small.tokenizer, precision="fp32", device="cpu")


def test_8_bits_are_for_processors(tiny_model: CLIP):
    with torch.device("meta"):
        elsewhere = CLIP(tiny_model.config)
    with pytest.raises(ConfigError, match="precision: got 'int8' on meta"):
        pick_precision("int8", elsewhere, torch.device("meta"))


def added(model: CLIP) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def replaced(model: CLIP) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn_like(parameter)


def assigned(model: CLIP) -> None:
    state = {
        name: value + 0.1 * torch.randn_like(value) for name, value in model.state_dict().items()
    }
    model.load_state_dict(state, assign=True)


def trained_a_step(model: CLIP) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimiser.step()


@pytest.mark.parametrize("change", [added, replaced, assigned, trained_a_step])
def test_weights_that_change_are_read_anew(
    change: Callable[[CLIP], None], tiny_model: CLIP, paths: list[Path]
):
    model = copy.deepcopy(tiny_model)
    lens = Embedder.from_model(model, Tokenizer.clip(), device="cpu")
    before = lens.embed_images(paths), lens.embed_texts("a cat")
    change(model)
    fresh = Embedder.from_model(copy.deepcopy(model), Tokenizer.clip(), device="cpu")
    for old, new, expected in zip(
        before,
        (lens.embed_images(paths), lens.embed_texts("a cat")),
        (fresh.embed_images(paths), fresh.embed_texts("a cat")),
        strict=True,
    ):
        np.testing.assert_allclose(new, expected, atol=1e-6)
        assert abs(new - old).max() > 1e-3


def test_a_model_of_no_blocks_is_not_copied_for_8_bits():
    model = tiny_clip("resnet", text=None)
    assert Embedder.from_model(model, None, device="cpu", precision="int8").model is model


def test_an_embedder_can_be_sent_to_another_process(lens: Embedder, paths: list[Path]):
    expected = lens.embed_images(paths)
    sent = pickle.loads(pickle.dumps(lens))
    np.testing.assert_allclose(sent.embed_images(paths), expected, atol=1e-6)


def test_pixels_of_another_size_are_resized_as_images_are(lens: Embedder):
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)) for _ in range(3)]
    frames = np.stack([np.asarray(one.resize((120, 90))) for one in coarse])
    features = lens.embed_pixels(torch.as_tensor(frames).permute(0, 3, 1, 2))
    assert (features * lens.embed_images(frames)).sum(axis=1).min() > 0.999


@pytest.mark.parametrize(
    ("pixels", "got"),
    [
        (torch.zeros(2, 3, 32, 32), r"float32 \[2, 3, 32, 32\]"),
        (torch.zeros(2, 32, 32, 3, dtype=torch.uint8), r"uint8 \[2, 32, 32, 3\]"),
        ([[1]], "list"),
        (torch.zeros(2, 3, 0, 32, dtype=torch.uint8), "0 x 32"),
        (torch.zeros(2, 3, 1, 99, dtype=torch.uint8), "1 x 99"),
    ],
)
def test_pixels_that_are_none_are_one_clear_line(pixels: object, got: str):
    with pytest.raises(ShapeError, match=f"pixels: got {got}, expected"):
        check_pixel_batch(pixels)


def test_decoding_is_fast_unless_it_is_to_be_exact(
    tiny_model: CLIP, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def watched(image: object, config: object, decode: str) -> np.ndarray:
        asked.append(decode)
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr("twinlens.embed.embedder.to_pixels", watched)
    Embedder.from_model(tiny_model, None, device="cpu").embed_images(b"image")
    Embedder.from_model(tiny_model, None, device="cpu", decode="exact").embed_images(b"image")
    assert asked == ["fast", "exact"]
    with pytest.raises(UnknownNameError, match="decode"):
        Embedder.from_model(tiny_model, None, device="cpu", decode="quick")  # pyright: ignore


def test_a_classifier_of_many_prompts_is_made_in_parts(
    lens: Embedder, monkeypatch: pytest.MonkeyPatch
):
    names, templates = ["cat", "dog", "a bird", "fish", "cow"], ["a {}", "{}"]
    whole = lens.zero_shot_classifier(names, templates)
    monkeypatch.setattr("twinlens.embed.prompt_ensemble._MAX_PROMPTS_IN_MEMORY", 4)
    np.testing.assert_allclose(lens.zero_shot_classifier(names, templates), whole, atol=1e-6)


def test_what_is_no_list_of_strings_is_named():
    lens = twinlens.load("icons")
    image = np.zeros((8, 8, 3), np.uint8)
    for call, message in (
        (lambda: lens.embed_texts(None), "texts: got a NoneType, expected a list of strings"),
        (lambda: lens.embed_texts({"a", "b"}), "texts: got a set"),
        (lambda: lens.embed_texts(["a", 3]), "texts: number 2 is a int"),
        (lambda: lens.classify(image, "cat,dog"), "labels: got 'cat,dog', expected a list"),
        (lambda: lens.classify(image, ["cat", None]), "labels: number 2 is a NoneType"),
        (lambda: lens.classify(image, ["cat"], "an {}"), "templates: got 'an {}'"),
        (lambda: lens.classify(image, ["cat"], [3]), "templates: number 1 is a int"),
        (lambda: lens.zero_shot_classifier("cat"), "classnames: got 'cat'"),
        (lambda: lens.embed_images(None), "images: got NoneType, expected paths"),
        (lambda: lens.embed_images(5), "images: got int"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            call()


def test_similarities_that_cannot_be_ranked():
    lens = twinlens.load("icons", towers="text")
    for wrong in (np.zeros((1, 3)), np.zeros(2)):
        with pytest.raises(ShapeError, match=r"similarities: got .*, expected \[images, 2\]"):
            lens.rank(wrong, ["a", "b"])
    with pytest.raises(DataError, match="not finite"):
        lens.rank(np.full((1, 2), np.nan), ["a", "b"])


def test_sizes_and_names_of_no_use(tmp_path: Path):
    save_model(tiny_clip(vocab_size=CLIP_VOCABULARY), tmp_path)
    with pytest.raises(ConfigError, match="image_size: got '64', expected a whole number"):
        twinlens.load(tmp_path, image_size="64")
    with pytest.raises(UnknownNameError, match="unknown model"):
        twinlens.load("a" * 5000)
    with pytest.raises(ConfigError, match="device: got None"):
        twinlens.load("icons", device=None)
