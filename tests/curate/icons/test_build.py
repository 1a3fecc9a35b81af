import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from twinlens.curate.icons import render
from twinlens.errors import ConfigError, DataError, MissingExtraError

from . import fake_packages
from .fake_packages import build_fake, list_all

PARTS = ("train", "unseen-concepts", "unseen-style", "unseen-both")


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def records(corpus: Path, part: str) -> list[dict[str, Any]]:
    index = list_all(corpus / part)
    return [json.loads(sample.read_member("json")) for sample in index]


def decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_unseen_parts_share_neither_concepts_nor_style_with_train(corpus: Path) -> None:
    found = {part: records(corpus, part) for part in PARTS}
    concepts = {part: {each["concept"] for each in found[part]} for part in PARTS}
    styles = {part: {each["style"] for each in found[part]} for part in PARTS}
    assert not concepts["train"] & (concepts["unseen-concepts"] | concepts["unseen-both"])
    assert concepts["unseen-style"] <= concepts["train"]
    assert styles["unseen-style"] == styles["unseen-both"] == {"twemoji"}
    assert "twemoji" not in styles["train"] | styles["unseen-concepts"]
    assert concepts["unseen-both"] == {"1f989", "1f981"}


def test_an_icon_with_an_emojis_name_is_that_emoji(corpus: Path) -> None:
    found = {each["icon"]: each for each in records(corpus, "train")}
    assert found["lucide:cat"]["concept"] == "1f408"
    assert found["lucide:cat"]["names"]["de"] == "Katze"
    assert "lucide:owl" not in found
    assert found["lucide:truck-delivery"]["concept"] == "truck-delivery"
    assert "names" not in found["lucide:truck-delivery"]


def test_sets_and_icons_that_may_not_be_used_are_left_out(corpus: Path) -> None:
    used = {each["set"] for part in PARTS for each in records(corpus, part)}
    assert not used & {"ri", "share", "logos"}
    icons = {each["icon"].partition(":")[2] for each in records(corpus, "train")}
    assert not icons & {"brand-acme", "x-1", "old-name", "arrow-west"}
    attribution = (corpus / "ATTRIBUTION.md").read_text()
    assert "| Share (`share`) | licence CC-BY-SA-4.0 |" in attribution
    assert "| Logos (`logos`) | logos and brands only |" in attribution
    assert "(`lucide`) | [A. Person](https://example.org) | ISC |" in attribution


def test_tones_and_flags_are_capped(cache: Path, trusted: Path, tmp_path: Path) -> None:
    build_fake(tmp_path, cache, flags=1, icons_limit=0)
    shown = Counter(each["concept"] for each in records(tmp_path, "train"))
    assert shown["1f1eb-1f1f7"] + shown["1f1e9-1f1ea"] == 9  # one flag in each of nine styles
    assert shown["1f44b-1f3ff"] + shown["1f44b-1f3fb"] == 9
    assert shown["1f44b"] == 9 * 4
    base = {each["concept"] for each in records(tmp_path, "unseen-style")}
    assert base == {"1f408", "1f415", "1f6b2", "1f355", "1f44b"}


def test_a_sample_has_its_image_its_words_and_its_origin(corpus: Path) -> None:
    index = list_all(corpus / "train")
    sample = next(
        each for each in index if json.loads(each.read_member("json"))["concept"] == "1f415"
    )
    image = decode(sample.read_member("webp"))
    assert (image.format, image.size) == ("WEBP", (24, 24))
    assert sample.read_member("txt") == b"dog"
    record = json.loads(sample.read_member("json"))
    assert record["label"] == record["captions"][0] == "dog"
    assert "Hund" in record["captions"]
    assert record["category"] == "animals & nature"
    assert record["licence"] == "MIT"


def test_renders_of_one_drawing_differ_and_held_out_ones_are_plain(corpus: Path) -> None:
    index = list_all(corpus / "train")
    dogs = [
        each.read_member("webp")
        for each in index
        if json.loads(each.read_member("json"))["icon"] == "noto:dog"
    ]
    assert len(dogs) == len(set(dogs)) == 4
    for sample in list_all(corpus / "unseen-style"):
        corner = decode(sample.read_member("webp")).convert("RGB").getpixel((0, 0))
        assert min(corner) > 240


def test_the_manifest_counts_what_is_there_and_lists_what_failed(corpus: Path) -> None:
    manifest = json.loads((corpus / "manifest.json").read_text())
    for part in PARTS:
        assert manifest["parts"][part]["images"] == len(records(corpus, part))
    assert manifest["failed"]["tabler:empty-page#0"].startswith("drawing is empty")
    assert manifest["skipped"]["brands"] == 3
    assert manifest["coverage"]["noto"] == 7
    assert (
        f"| train | {manifest['parts']['train']['images']} |" in (corpus / "README.md").read_text()
    )


def test_a_build_killed_at_any_moment_resumes_to_the_same_bytes(
    corpus: Path, cache: Path, tmp_path: Path
) -> None:
    command = [sys.executable, fake_packages.__file__, str(tmp_path / "out"), str(cache), "2"]
    killed = 0
    for wait_for in (1, 6):
        process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "out").glob("*/*.tar"))) >= wait_for:
                os.killpg(process.pid, signal.SIGKILL)
                killed += process.wait() == -signal.SIGKILL
                break
            time.sleep(0.005)
        assert not (tmp_path / "out" / "manifest.json").exists() or process.returncode == 0
    assert killed
    subprocess.run(command, check=True, timeout=120)
    assert files(tmp_path / "out") == files(corpus)


def test_a_finished_corpus_is_left_as_it_is(
    corpus: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(corpus)
    monkeypatch.setattr("twinlens.curate.icons.build.render_sample", None)  # nothing may be drawn
    build_fake(corpus, trusted)
    assert files(corpus) == before


def test_a_folder_of_other_settings_is_refused(corpus: Path, trusted: Path) -> None:
    with pytest.raises(DataError, match=r"holds a corpus of other settings: got \w+, expected \w+"):
        build_fake(corpus, trusted, seed=1)


def test_a_folder_of_other_shards_is_refused(trusted: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "00000.tar").write_bytes(b"")
    with pytest.raises(DataError, match="holds shards of another data set"):
        build_fake(tmp_path, trusted)


def test_an_unwritable_folder_is_a_clear_error(trusted: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        build_fake(tmp_path / "file" / "out", trusted)


def test_a_missing_extra_prints_the_pip_line(
    trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twinlens\[data\]'"):
        build_fake(tmp_path, trusted)
    assert render.PLAIN_STYLE.box[0] == 0.04


def test_progress_counts_up_to_the_whole(trusted: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    from twinlens.curate.icons.build import build_corpus  # noqa: PLC0415
    from twinlens.curate.icons.config import IconsConfig  # noqa: PLC0415

    settings = IconsConfig(size=16, icons_limit=0, clipart=False, styles=("noto", "twemoji"))
    build_corpus(tmp_path, trusted, settings, workers=1, progress=lambda *each: told.append(each))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] == told[0][1]


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused_before_anything_is_made(
    trusted: Path, tmp_path: Path, workers: int
) -> None:
    with pytest.raises(ConfigError, match=f"^workers: got {workers}, expected at least 1$"):
        build_fake(tmp_path / "out", trusted, workers=workers)
    assert not (tmp_path / "out").exists()
