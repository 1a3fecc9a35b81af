"""Which files of a repository make a model."""

import pytest

from twinlens.hub.layouts import choose_files

CLIP = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "README.md"]
UNUSED = ["tf_model.h5", "flax_model.msgpack", "figure/a.jpg", ".gitattributes", "LICENSE"]


def test_one_copy_of_the_weights_and_what_says_how_to_use_it():
    both = ["pytorch_model.bin", "model.safetensors", "config.json", "preprocessor_config.json"]
    assert choose_files([*UNUSED, *both, *CLIP]) == [
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        *CLIP,
    ]


def test_a_pickle_where_there_is_nothing_better():
    assert choose_files(["config.json", "pytorch_model.bin"])[0] == "pytorch_model.bin"
    files = ["open_clip_config.json", "open_clip_pytorch_model.bin"]
    assert choose_files(files)[0] == "open_clip_pytorch_model.bin"


@pytest.mark.parametrize(
    "weights", ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"]
)
def test_open_clip_s_files_come_before_the_image_tower_beside_them(weights: str):
    """timm's repositories have the image tower alone as `model.safetensors`."""
    files = [
        *("config.json", "model.safetensors", "pytorch_model.bin"),
        *("open_clip_config.json", "open_clip_pytorch_model.bin", weights),
    ]
    assert choose_files(files) == [weights, "open_clip_config.json"]


def test_hugging_face_s_weights_beside_open_clip_s_configuration_are_its_own():
    files = ["open_clip_config.json", "config.json", "model.safetensors"]
    assert choose_files(files) == ["model.safetensors", "config.json"]


def test_parts_come_with_their_index():
    parts = ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"]
    files = [*parts, "model.safetensors.index.json", "config.json", "pytorch_model.bin"]
    assert choose_files(files) == [*sorted(parts), "model.safetensors.index.json", "config.json"]


def test_a_vocabulary_in_parts_where_it_is_not_whole():
    parts = ["vocab.json", "merges.txt", "spiece.model"]
    model = ["model.safetensors", "config.json"]
    assert choose_files([*model, *parts]) == [*model, *parts]
    assert choose_files([*model, *parts, "tokenizer.json"]) == [*model, "tokenizer.json"]


def test_the_only_file_of_weights_is_the_model():
    files = ["siglip2_b16_224.npz", "README.md", ".gitattributes"]
    assert choose_files(files) == ["siglip2_b16_224.npz", "README.md"]


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["README.md"],
        ["config.json"],
        ["model.bin", "README.md"],
        ["a.npz", "b.npz"],
        ["config.json", "a.pt"],
    ],
)
def test_no_model_is_no_files(files: list[str]):
    assert choose_files(files) == []


def test_the_clip_folder_of_sentence_transformers():
    inside = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
    files = ["README.md", "modules.json", *(f"0_CLIPModel/{name}" for name in inside)]
    assert choose_files(files) == [
        "0_CLIPModel/model.safetensors",
        "0_CLIPModel/config.json",
        "0_CLIPModel/preprocessor_config.json",
        "0_CLIPModel/tokenizer.json",
        "modules.json",
    ]


def test_checksums_come_with_the_model():
    files = ["config.json", "model.safetensors", "checksums.json", "tokenizer.json"]
    assert "checksums.json" in choose_files(files)
