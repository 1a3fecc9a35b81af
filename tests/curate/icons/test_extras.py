import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from twinlens.curate.icons import sources
from twinlens.curate.icons.extras import read_extra_sets
from twinlens.curate.icons.iconify import read_drawing
from twinlens.curate.icons.render import PLAIN_STYLE, render_svg, to_svg

KNOWN = {"1f408": 0, "1f3f4-e0067": 0, "1f468": 0, "1f468-200d-1f33e": 0, "1f44b-1f3ff": 0}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    image = io.BytesIO()
    Image.new("RGBA", (256, 256), (0, 0, 255, 255)).save(image, "WEBP")
    images = {
        f"assets/{name}.webp": image.getvalue() for name in ("1f408", "1f3f4-e0067_fe0f", "1f415")
    }
    fonts = {"400Regular/NotoEmoji_400Regular.ttf": b"a font", "700Bold/x.ttf": b"another"}
    for package, files in ((sources.FLUENT_3D, images), (sources.NOTO_EMOJI_FONT, fonts)):
        with tarfile.open(tmp_path / package.filename, "w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(f"package/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pins = {package.filename: package.sha256 for package in sources.PACKAGES}
    monkeypatch.setattr(sources, "file_sha256", lambda path: pins[path.name])
    return tmp_path


def test_images_are_drawn_like_any_icon(cache: Path) -> None:
    ((info, data),) = read_extra_sets(["fluent-emoji-3d"], cache, KNOWN)
    assert set(data["icons"]) == {"1f408", "1f3f4-e0067"}
    cat = read_drawing(data, "1f408", is_coloured=info.is_coloured)
    assert cat.is_coloured
    assert render_svg(to_svg(cat, PLAIN_STYLE, 32)).getpixel((16, 16))[2] > 200


def test_a_font_gives_base_emoji_without_gendered_variants(cache: Path) -> None:
    ((info, data),) = read_extra_sets(["noto-emoji-lines"], cache, KNOWN)
    assert set(data["icons"]) == {"1f408", "1f468"}
    assert not info.is_coloured
    cat = read_drawing(data, "1f408", is_coloured=info.is_coloured)
    assert Path(cat.font).read_bytes() == b"a font"
    assert "&#x1f408;" in cat.body


def test_a_style_that_is_not_asked_for_is_not_fetched(tmp_path: Path) -> None:
    assert list(read_extra_sets(["noto"], tmp_path, KNOWN)) == []
