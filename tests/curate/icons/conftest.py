from pathlib import Path

import pytest

from twinlens.curate.icons import sources

from .fake_packages import build_fake, trust_fakes, write_packages


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small packages."""
    folder = tmp_path_factory.mktemp("npm")
    write_packages(folder)
    return folder


@pytest.fixture
def trusted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, its packages taken for the pinned ones."""
    monkeypatch.setattr(sources, "file_sha256", sources.file_sha256)  # restored after the test
    trust_fakes(cache)
    return cache


@pytest.fixture(scope="session")
def corpus(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the small packages."""
    out = tmp_path_factory.mktemp("corpus") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "file_sha256", sources.file_sha256)
        trust_fakes(cache)
        build_fake(out, cache)
    return out
