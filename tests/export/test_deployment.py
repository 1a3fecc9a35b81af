"""Files for runtimes: they say what the model says, or are not there."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.checkpoints.formats import reference
from tests.tiny import CLIP_VOCABULARY, tiny_clip, tiny_config
from twinlens.config import CLIPConfig, PreprocessConfig, TextConfig, ViTConfig
from twinlens.embed.embedder import Embedder
from twinlens.errors import CheckpointError, ConfigError, MissingExtraError
from twinlens.export import onnx, openvino, torch_export
from twinlens.export.deployment import export_model
from twinlens.export.gate import check_min_cosine
from twinlens.export.towers import ExportTower, TowerRunner, export_towers
from twinlens.model.clip import CLIP
from twinlens.text.clip_bpe import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["a cat", "two dogs in the rain", "Crème brûlée"]


def embedder(model: CLIP, tokenizer=None) -> Embedder:
    return Embedder.from_model(model, tokenizer, device="cpu", decode="exact", precision="fp32")


def siglip_config(vocab_size: int) -> CLIPConfig:
    """Attention pooling, a text tower that reads both ways and its last position, a bias."""
    small = {"width": 32, "layers": 2, "heads": 2, "activation": "gelu_tanh"}
    return CLIPConfig(
        embed_dim=32,
        vision=ViTConfig(
            image_size=32, patch_size=16, pooling="attention", projection="none", **small
        ),
        text=TextConfig(
            context_length=16,
            vocab_size=vocab_size,
            causal=False,
            pooling="last",
            projection="affine",
            **small,
        ),
        logit_bias=True,
        tokenizer="tokenizer.json",
        text_cleaning="canonicalize",
        preprocess=PreprocessConfig(image_size=32, resize="squash"),
    )


@pytest.fixture(scope="module")
def lens(tiny_model: CLIP) -> Embedder:
    return embedder(tiny_model, Tokenizer.clip())


@pytest.fixture(scope="module")
def image_lens() -> Embedder:
    """A tower alone, the quickest to write."""
    return embedder(tiny_clip(text=None))


@pytest.fixture(scope="module")
def text_lens() -> Embedder:
    """A text tower alone, that reads the first end token."""
    config = tiny_config(vocab_size=CLIP_VOCABULARY)
    ends = replace(config.text_config, pooling="end", end_id=CLIP_VOCABULARY - 1)
    alone = replace(config, vision=None, preprocess=None, text=ends)
    return embedder(reference.shaken(CLIP(alone)), Tokenizer.clip())


@pytest.fixture(scope="module")
def written(lens: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lens` as ONNX."""
    directory = tmp_path_factory.mktemp("exported") / "tiny"
    export_model(lens, directory)
    return directory


def answers(directory: Path, tower: str, inputs: np.ndarray) -> np.ndarray:
    facts = json.loads((directory / "twinlens.json").read_text())[tower]
    session = onnxruntime.InferenceSession(str(directory / facts["file"]))
    return session.run([facts["output"]], {facts["input"]: inputs})[0]


def test_onnx_files_answer_at_any_batch(lens: Embedder, written: Path):
    tokens = lens.tokenizer(TEXTS, context_length=24)
    for count in (1, 3):
        got = answers(written, "text", tokens[:count])
        assert np.abs(got - lens.embed_texts(TEXTS[:count])).max() < 1e-5
    short = lens.tokenizer(TEXTS, context_length=12)
    assert np.abs(answers(written, "text", short) - lens.embed_texts(TEXTS)).max() < 1e-5
    image = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    got = answers(written, "image", np.stack([lens.preprocess(image)] * 7))
    assert np.abs(got - lens.embed_images(image)).max() < 1e-5


def test_the_files_say_how_to_use_them(lens: Embedder, written: Path):
    facts = json.loads((written / "twinlens.json").read_text())
    assert facts["logit_scale"] == pytest.approx(lens.model.logit_scale.exp().item())
    assert facts["logit_bias"] is None
    assert facts["image"]["preprocess"]["image_size"] == 32
    assert facts["image"]["preprocess"]["interpolation"] == "bicubic"
    assert facts["text"]["context_length"] == 24
    assert facts["text"]["tokenizer"]["end_id"] == CLIP_VOCABULARY - 1
    assert facts["text"]["tokenizer"]["differs_on"] == []
    parity = facts.pop("parity")
    assert min(parity["least_cosine"].values()) > parity["limit"] == 0.9999
    for name, inputs in (("image", ["batch", 3, 32, 32]), ("text", ["batch", "length"])):
        session = onnxruntime.InferenceSession(str(written / f"{name}.onnx"))
        assert json.loads(session.get_modelmeta().custom_metadata_map["twinlens"]) == facts
        assert [one.shape for one in session.get_inputs()] == [inputs]
        assert [one.shape for one in session.get_outputs()] == [["batch", 16]]


def test_no_file_tells_where_it_was_made(written: Path):
    for path in written.glob("*.onnx"):
        assert b"twinlens/model" not in path.read_bytes()  # as torch notes of each node


def test_siglip_s_kind_of_towers(tmp_path: Path):
    words = reference.piece_vocabulary(tmp_path / "vocabulary", "canonicalize")
    lens = embedder(reference.shaken(CLIP(siglip_config(words.vocab_size))), words)
    result = export_model(lens, tmp_path / "out")
    assert [one.files for one in result.towers] == [("image.onnx",), ("text.onnx",)]
    assert result.tokenizer is not None
    assert (result.tokenizer.kind, result.tokenizer.differs_on) == ("sentencepiece", ())
    facts = json.loads((tmp_path / "out" / "twinlens.json").read_text())
    assert facts["logit_bias"] == pytest.approx(lens.model.logit_bias.item())


def test_openvino_s_files(text_lens: Embedder, tmp_path: Path):
    [text] = export_model(text_lens, tmp_path, "openvino", "fp16").towers  # empty: as good as new
    assert text.files == ("text.xml", "text.bin")
    assert "openvino_telemetry" not in sys.modules
    import openvino as runtime  # noqa: PLC0415  only after it was imported without its reporter

    model = runtime.Core().read_model(tmp_path / "text.xml")
    facts = json.loads(model.get_rt_info("twinlens").astype(str))
    assert (facts["format"], facts["precision"]) == ("openvino", "fp16")
    [tower] = export_towers(text_lens)
    run = openvino.open_runner(tmp_path / "text.xml", tower)
    got = run(text_lens.tokenizer(TEXTS, context_length=12))
    assert np.abs(got - text_lens.embed_texts(TEXTS)).max() < 1e-2


def test_torch_s_programs(text_lens: Embedder, tmp_path: Path):
    [text] = export_model(text_lens, tmp_path / "out", "torch").towers
    assert b"twinlens/model" not in (tmp_path / "out" / "text.pt2").read_bytes()
    kept = {"twinlens.json": ""}
    module = torch.export.load(tmp_path / "out" / text.files[0], extra_files=kept).module()
    assert json.loads(kept["twinlens.json"])["text"]["file"] == "text.pt2"
    with torch.inference_mode():
        got = module(torch.from_numpy(text_lens.tokenizer(TEXTS, context_length=12)))
    assert np.abs(got.numpy() - text_lens.embed_texts(TEXTS)).max() < 1e-6


def test_fewer_bits_make_smaller_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnx, "_MIN_QUANTISED_BYTES", 2**10)
    [tower] = export_towers(embedder(reference.shaken(tiny_clip("resnet", text=None))))
    weights = sum(4 * parameter.numel() for parameter in tower.module.parameters())
    for precision, share in (("fp16", 0.7), ("int8", 0.5)):  # the graph itself counts, so small
        path = tmp_path / f"{precision}.onnx"
        onnx.write_tower(tower, path, "{}", precision)
        assert check_min_cosine(onnx.open_runner(path, tower), tower, precision) < 1 + 1e-6
        assert path.stat().st_size < share * weights


def test_integers_leave_a_text_s_answer_to_itself(tmp_path: Path, lens: Embedder):
    """One scale for a whole batch, as dynamic quantisation has it, would not."""
    tower = export_towers(lens)[1]
    onnx.write_tower(tower, tmp_path / "text.onnx", "{}", "int8")
    run, tokens = onnx.open_runner(tmp_path / "text.onnx", tower), tower.inputs.numpy()
    alone = np.concatenate([run(tokens[i : i + 1]) for i in range(4)])
    assert np.abs(run(tokens)[:4] - alone).max() < 1e-5


def test_weights_beyond_a_file_s_limit_go_beside_it(
    image_lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnx, "_MAX_INLINE_BYTES", 2**10)
    [image] = export_model(image_lens, tmp_path / "out").towers
    assert image.files == ("image.onnx", "image.onnx.data")
    assert image.size > 1000 * 4
    [tower] = export_towers(image_lens)
    got = answers(tmp_path / "out", "image", tower.inputs[:3].numpy())  # where it is now
    assert np.abs(got - tower.embeddings[:3].numpy()).max() < 1e-5


def test_a_file_that_answers_otherwise_is_not_left(
    image_lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    honest = torch_export.open_runner

    def another(path: Path, tower: ExportTower) -> TowerRunner:
        run = honest(path, tower)
        return lambda inputs: np.roll(run(inputs), 1, axis=1)

    monkeypatch.setattr(torch_export, "open_runner", another)
    with pytest.raises(CheckpointError, match=r"the image tower's file: got a cosine of .*0\.9999"):
        export_model(image_lens, tmp_path / "out", "torch")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("form", "precision"), [("torch", "int8"), ("openvino", "int8")])
def test_a_precision_that_a_format_has_not_got(
    form: str, precision: str, image_lens: Embedder, tmp_path: Path
):
    with pytest.raises(ConfigError, match=f"precision: got 'int8', expected fp32.* for {form}"):
        export_model(image_lens, tmp_path / "out", form, precision)


def test_a_model_in_half_precision_is_no_reference(image_lens: Embedder, tmp_path: Path):
    half = Embedder.from_model(image_lens.model, None, device="cpu", precision="bf16")
    with pytest.raises(ConfigError, match="model: got 'bf16 on cpu', expected fp32 on cpu"):
        export_model(half, tmp_path / "out")


def test_a_missing_package_is_named(
    image_lens: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not .* 'twinlens\[export\]'"):
        export_model(image_lens, tmp_path / "out", "onnx")


WITHOUT_TORCH = """
import runpy, sys
sys.modules["torch"] = sys.modules["twinlens"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_example_says_what_twinlens_says(lens: Embedder, written: Path):
    image = ROOT / "src" / "twinlens" / "assets" / "images" / "cat.png"
    words = [ROOT / "examples" / "onnx_clip.py", written, image, ",".join(TEXTS)]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    rows = [line.split(maxsplit=2) for line in ended.stdout.splitlines()]
    ours = {one.label: one.probability for one in lens.classify(image, TEXTS)[0]}
    assert [label for _, _, label in rows] == TEXTS
    for share, _, label in rows:
        assert float(share.rstrip("%")) / 100 == pytest.approx(ours[label], abs=1e-5)
