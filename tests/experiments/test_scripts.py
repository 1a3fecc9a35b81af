"""The parts of the experiments' scripts that decide their figures."""

import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from twinlens.errors import DataError
from twinlens.text.clip_bpe import train_tokenizer

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

from common import Contrastive, Mixture, Part, right, score_names, small_clip
from learners import Captions, Words, common_words
from measures import Question, among_all, among_few
from objectives import pairs_needed, times_fewer
from scaling import fit
from training import Plan, read_weights, train

NAMES = ("red cat", "blue dog", "green bird", "old house")


@pytest.fixture(scope="module")
def part():
    rng = np.random.default_rng(0)
    names = [NAMES[i % 4] for i in range(40)]
    return Part(
        pixels=rng.integers(0, 256, (40, 3, 32, 32), np.uint8),
        names=names,
        captions=[[name, f"an icon of {name}"] for name in names],
        concepts=np.arange(40) % 4,
        styles=["noto" if i < 10 else "lucide" for i in range(40)],
        groups=["animals" if i % 4 < 3 else "places" for i in range(40)],
    )


@pytest.fixture(scope="module")
def tokenizer(part):
    filler = ["".join(chr(97 + i // 26**k % 26) for k in range(3)) for i in range(2400)]
    return train_tokenizer([*NAMES * 50, *filler], 2048)


def plan(name, *points):
    return Plan(name=name, seed=0, lr=1e-3, points=points, batch_size=10, warmup_steps=2)


def test_mixture_keeps_its_share_and_shows_each_image_once_an_epoch(part):
    mixture = Mixture(part, 10, seed=3)
    drawn = [mixture._drawn(source, step) for step in range(5) for source in (0, 1)]
    emoji = np.concatenate(drawn[::2]).reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in emoji)
    others = np.concatenate(drawn[1::2])
    assert len(set(others.tolist())) == 10
    assert min(others) >= 10


def test_batches_follow_from_seed_and_step(part):
    pixels, captions, concepts = Mixture(part, 10, seed=3).batch(7)
    again = Mixture(part, 10, seed=3).batch(7)
    assert torch.equal(pixels, again[0])
    assert captions == again[1]
    assert Mixture(part, 10, seed=4).batch(7)[1] != captions
    spoken = {name: i for i, name in enumerate(NAMES)}
    assert [spoken[text.removeprefix("an icon of ")] for text in captions] == concepts.tolist()


def test_a_run_goes_on_to_the_same_weights(part, tokenizer, tmp_path):
    make = partial(Contrastive, small_clip("xs"), tokenizer)
    whole = train(make, part, plan("whole", 20, 40), tmp_path)
    train(make, part, plan("parts", 20), tmp_path)
    parts = train(make, part, plan("parts", 20, 40), tmp_path)
    assert parts.pairs == [20, 40]
    assert parts.loss == whole.loss
    first, second = (
        read_weights(make(), tmp_path, name, 40).state_dict() for name in ("whole", "parts")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    # Read, not trained again: a shorter plan gives its own points.
    assert train(make, part, plan("parts", 20), tmp_path).pairs == [20]


def test_a_run_of_another_plan_is_refused(part, tokenizer, tmp_path):
    make = partial(Contrastive, small_clip("xs"), tokenizer)
    train(make, part, plan("one", 10), tmp_path)
    with pytest.raises(DataError, match="another plan"):
        train(make, part, replace(plan("one", 10), lr=1.0), tmp_path)


def test_words_are_scored_by_their_log_probabilities():
    words = Words(small_clip("xs"), ["bird", "blue", "cat", "red"]).eval()
    torch.manual_seed(0)
    images = torch.randn(3, 3, 32, 32)
    words.usual = images[:2]
    said = torch.log_softmax(words.head(words.image_tower(images)), dim=1)
    scores = words.scores(images, ["red cat", "cat", "unheard"])
    assert torch.allclose(scores["sum"][:, 0], said[:, 2] + said[:, 3])
    assert torch.allclose(scores["mean"][:, 0], (said[:, 2] + said[:, 3]) / 2)
    usual = said[:2].exp().mean(dim=0).log()
    assert torch.allclose(scores["lift"][:, 1], said[:, 2] - usual[2], atol=1e-6)
    assert all(torch.isneginf(rows[:, 2]).all() for rows in scores.values())


def test_words_learn_from_all_of_a_captions_words_alike():
    words = Words(small_clip("xs"), ["bird", "blue", "cat", "red"])
    assert words.bags(["Red, red CAT!", "sky"]).tolist() == [[0, 0, 0.5, 0.5], [0] * 4]
    assert common_words(["a b"] * 10 + ["a c"] * 9) == ["a", "b"]


@pytest.fixture(scope="module")
def captions(tokenizer):
    torch.manual_seed(1)
    return Captions(small_clip("m"), tokenizer).eval()


def test_captions_likelihood_is_that_of_tokens_said_one_by_one(captions):
    """Against the model run on every prefix alone, its distribution a softmax over all tokens."""
    captions.requires_grad_(False)
    seen = captions.see(torch.randn(1, 3, 32, 32))
    (row,) = captions.tokens(["blue dog house"])
    of = torch.zeros(1, dtype=torch.long)
    total = 0.0
    for place in range(1, len(row)):
        x = captions.embedding(row[None, :place]) + captions.positions[:place]
        for block in captions.blocks:
            x = block(x, seen, of)
        logits = captions.final_norm(x[:, -1]) @ captions.embedding.weight.T
        total += float(logits.log_softmax(dim=1)[0, row[place]])
    assert math.isclose(float(captions.likelihoods(seen, row[None], of)[0]), total, rel_tol=1e-5)


def test_captions_score_each_image_on_its_own(captions):
    images = torch.randn(2, 3, 32, 32)
    captions.usual = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        both = captions.scores(images, NAMES)
        second = captions.scores(images[1:], NAMES)
        tokens = captions.tokens(NAMES)
        seen = captions.see(captions.usual)
        usual = torch.stack(
            [
                captions.likelihoods(seen[i : i + 1].expand(4, -1, -1), tokens, torch.arange(4))
                for i in range(4)
            ]
        ).exp()
    for key, rows in both.items():
        assert torch.allclose(rows[1:], second[key], atol=1e-5)
    assert torch.allclose(both["mean"] * tokens.argmax(dim=1), both["sum"])
    assert torch.allclose(both["sum"] - both["lift"], usual.mean(dim=0).log(), atol=1e-4)


def test_names_among_few_are_chosen_among_those_alone(part):
    question = Question(part, sorted(NAMES))
    scores = torch.zeros(40, 4)
    scores[:, sorted(NAMES).index("old house")] = 2.0
    scores[:, sorted(NAMES).index("red cat")] = 1.0
    animals, places = among_few(scores, question, [["red cat", "blue dog"], ["old house"]])
    assert animals.tolist() == [True, False] * 10
    assert places.tolist() == [True] * 10
    assert right(scores, part, question.names).sum() == 10


def test_contrastive_scores_are_cosines(part, tokenizer):
    model = Contrastive(small_clip("xs"), tokenizer).eval()
    question = Question(part, sorted([*NAMES, "pink sky"]))
    whole = score_names(model, part, question.names)["cosine"]
    model.chunk = 7
    scores = score_names(model, part, question.names)["cosine"]
    assert torch.allclose(scores, whole, atol=1e-6)
    assert scores.shape == (40, 5)
    assert float(scores.abs().max()) <= 1 + 1e-6
    assert among_all(model, question)["cosine@1"].shape == (40,)


def test_pairs_needed_by_hand():
    curve, points = np.array([0.1, 0.3, 0.2]), [100, 400, 800]
    assert pairs_needed(curve, points, 0.2) == pytest.approx(200)
    assert pairs_needed(curve, points, 0.05) == pytest.approx(50)
    assert pairs_needed(curve, points, 0.3) == pytest.approx(400)
    assert math.isnan(pairs_needed(curve, points, 0.31))
    fast = np.array([[[1, 0], [1, 1]]], bool)
    slow = np.array([[[0, 0], [1, 0]]], bool)
    assert times_fewer(fast, slow, [100, 400]) == pytest.approx(4)
    assert times_fewer(slow, fast, [100, 400]) == pytest.approx(1 / 4)


def test_a_power_law_is_a_line():
    flops = np.array([1e9, 3e9, 1e10, 2e11])
    line = fit(flops, 5.0 * flops**-0.1)
    assert line.slope == pytest.approx(-0.1)
    assert line.r2 == pytest.approx(1.0)
    assert line.error(np.array([1e12])) == pytest.approx(5.0 * 1e12**-0.1)
