"""A hub without a network, and a cache laid out as huggingface_hub lays it out."""

import fnmatch
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HF_CLIP = json.dumps({"model_type": "clip", "projection_dim": 8, "vision_config": {}}).encode()
OPEN_CLIP = json.dumps({"model_cfg": {"embed_dim": 8, "vision_cfg": {}}}).encode()


class Cache:
    """The Hugging Face cache of a test."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def snapshot(self, repository: str, commit: str = COMMIT, kind: str = "models") -> Path:
        return self._folder(repository, kind) / "snapshots" / commit

    def write(
        self,
        repository: str,
        files: dict[str, bytes],
        *,
        commit: str = COMMIT,
        revision: str = "main",
        kind: str = "models",
    ) -> Path:
        """Blobs by their digest, links to them by name, and what the revision was."""
        folder, snapshot = self._folder(repository, kind), self.snapshot(repository, commit, kind)
        for made in (folder / "blobs", folder / "refs", snapshot):
            made.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
            blob.write_bytes(content)
            (snapshot / name).unlink(missing_ok=True)
            (snapshot / name).symlink_to(blob)
        (folder / "refs" / revision).write_text(commit)
        return snapshot

    def _folder(self, repository: str, kind: str) -> Path:
        return self.root / f"{kind}--{repository.replace('/', '--')}"


class Hub:
    """The hub as huggingface_hub shows it, and what was asked of it.

    Attributes:
        files: By repository.
        commit: Of every repository and revision.
        downloads: The repository, the revision and the files of each download.
        error: Raised by every question, if there is one.
        damage: Changes what a download writes.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.files: dict[str, dict[str, bytes]] = {}
        self.commit = COMMIT
        self.downloads: list[tuple[str, str | None, list[str]]] = []
        self.error: Exception | None = None
        self.damage: Callable[[bytes], bytes] = lambda content: content
        self.stops: Exception | None = None

    def model_info(self, repository: str, *, revision: str | None, files_metadata: bool):
        assert files_metadata, "without it there are no sums"
        if self.error is not None:
            raise self.error
        siblings = [
            SimpleNamespace(rfilename=name, lfs=self._large(name, content))
            for name, content in self.files[repository].items()
        ]
        return SimpleNamespace(sha=self.commit, siblings=siblings)

    def _large(self, name: str, content: bytes):
        if name.endswith(".json") or name.endswith(".md"):
            return None
        return SimpleNamespace(sha256=hashlib.sha256(content).hexdigest())

    def download(self, repository: str, revision: str | None, patterns: list[str]) -> str:
        self.downloads.append((repository, revision, patterns))
        if self.stops is not None:
            raise self.stops
        chosen = {
            name: self.damage(content) if self._large(name, content) else content
            for name, content in self.files[repository].items()
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        }
        snapshot = self.cache.write(
            repository, chosen, commit=self.commit, revision=revision or "main"
        )
        return str(snapshot)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    root = tmp_path / "cache"
    root.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    return Cache(root)


@pytest.fixture
def hub(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub(cache)
    local = huggingface_hub.snapshot_download

    def download(repository: str, *, local_files_only: bool = False, **options) -> str:
        if local_files_only:  # the library's own reading of its cache
            return local(repository, local_files_only=True, **options)
        return hub.download(repository, options["revision"], options["allow_patterns"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(
        HfApi, "model_info", lambda _, *args, **options: hub.model_info(*args, **options)
    )
    return hub
