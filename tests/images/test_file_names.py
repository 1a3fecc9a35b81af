"""Names of image files: what is read, what is only known, and what is none."""

import pytest

from tests.data.ending_cases import HIDDEN, NO_IMAGES, NOT_READ, OPTIONAL, READ, SHOWN
from twinlens.images import file_names
from twinlens.images.file_names import is_hidden, is_image_name, missing_decoder, unreadable_reason


@pytest.mark.parametrize("name", [name for names in READ.values() for name in names])
def test_endings_that_are_read(name: str):
    assert is_image_name(name)
    assert is_image_name(f"some.folder/{name}")
    assert unreadable_reason(name) is None


@pytest.mark.parametrize("name", OPTIONAL)
def test_endings_of_optional_decoders(name: str):
    kind = "JPEG XL" if name.lower().endswith("jxl") else "HEIC"
    needed = missing_decoder(kind)
    assert is_image_name(name) == (needed is None)
    ending = name[1:].lower()
    told = None if needed is None else f"{kind} image ({ending}), which needs {needed}"
    assert unreadable_reason(name) == told


@pytest.mark.parametrize(
    ("kind", "name"), [(k, name) for k, names in NOT_READ.items() for name in names]
)
def test_endings_that_are_known_and_not_read(kind: str, name: str):
    assert not is_image_name(name)
    assert unreadable_reason(name) == f"{kind} image ({name[1:].lower()}), which is not read"


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_files_are_no_images(name: str):
    assert is_hidden(name)
    assert not is_image_name(name)
    assert unreadable_reason(name.replace(".jpg", ".svg")) is None


@pytest.mark.parametrize("name", SHOWN)
def test_files_that_are_not_hidden(name: str):
    assert not is_hidden(name)
    assert is_image_name(name)


@pytest.mark.parametrize("name", NO_IMAGES)
def test_files_that_are_no_images(name: str):
    assert not is_hidden(name)
    assert not is_image_name(name)
    assert unreadable_reason(name) is None


def test_what_is_missing_is_said_with_its_pip_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(file_names, "find_spec", lambda _: None)
    missing_decoder.cache_clear()
    try:
        assert missing_decoder("HEIC") == "pip install 'twinlens[formats]'"
        assert missing_decoder("JPEG XL") == "pip install 'twinlens[formats]'"
        assert missing_decoder("AVIF") == "pip install 'pillow>=11.3'"
        assert missing_decoder("JPEG") is None
    finally:
        missing_decoder.cache_clear()


def test_no_ending_is_in_two_formats():
    read = [
        ending
        for table in (file_names._BUILTIN_FORMATS, file_names._OPTIONAL_FORMATS)
        for one in table.values()
        for ending in one
    ]
    known = [
        ending for endings in file_names._UNSUPPORTED_FORMATS.values() for ending in endings.split()
    ]
    assert len(set(read + known)) == len(read + known)
