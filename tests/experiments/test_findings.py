"""What decides the figures of the experiments on prompts, few shots, robustness and overlap."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

from features import Features, resampled
from few_shot import Task, answer, by_class, equal_shots, summarise
from overlap import Thumbnails, alike, compare, thumbnail
from prompts import PROMPTS
from robustness import Point, beyond_line, bootstrapped
from split import Asked, corrupted


def drawing(shape, colour, ground="white", box=(10, 10, 60, 60)):
    image = Image.new("RGB", (72, 72), ground)
    getattr(ImageDraw.Draw(image), shape)(box, fill=colour)
    return image


def thumbnails(*images):
    return Thumbnails(
        drawings=np.stack([thumbnail(image) for image in images]),
        coloured=np.zeros(len(images), bool),
        labels=np.array(["?"] * len(images)),
    )


def test_resampled_groups_go_together():
    weights = resampled(np.array([0, 0, 1, 2]), 500)
    assert np.allclose(weights.sum(axis=1), 1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert weights.mean(axis=0)[2] == pytest.approx(0.25, abs=0.07)


def test_prompts_have_one_place_for_the_name():
    assert all(t.count("{}") == 1 for templates in PROMPTS.values() for t in templates)
    counts = {"ensemble of 3": 3, "ensemble of 8": 8, "ensemble of 20": 20, "ImageNet's 80": 80}
    assert {name: len(set(PROMPTS[name])) for name in counts} == counts


@pytest.mark.parametrize(
    ("few", "zero", "worth"),
    [
        ([0.5, 0.6, 0.7], 0.4, 0.0),
        ([0.1, 0.3, 0.5], 0.4, 2 * math.sqrt(2)),
        ([0.1, 0.3, 0.5], 0.5, math.inf),
        ([0.1, 0.3, 0.5], 0.1, 1.0),
    ],
)
def test_equal_shots(few, zero, worth):
    assert equal_shots([1, 2, 4], few, zero) == pytest.approx(worth)


class Words:
    """Stands for a model whose names are as good as the first axes."""

    def zero_shot_classifier(self, names):
        return np.eye(4, len(names), dtype=np.float32)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 12)
    values = np.eye(4, dtype=np.float32)[targets] + rng.normal(0, 0.4, (36, 4))
    pool = np.arange(36) % 12 < 9
    data = Features(
        name="toy",
        values=values.astype(np.float32),
        names=["a", "b", "c"],
        targets=targets,
        groups=targets,
    )
    return Task(name="toy", data=data, pool=pool, asked=np.ones(36, bool), shots=(1, 2, 4))


def test_few_shot_asks_about_what_was_not_learned(task):
    answers = answer(Words(), task)
    assert answers.asked.sum(axis=2).tolist() == [[33] * 10, [30] * 10, [24] * 10]
    assert answers.asked[:, :, ~task.pool].all()
    learned = ~answers.asked
    assert (learned[1] >= learned[0]).all()
    assert (learned[2] >= learned[1]).all()
    assert answers.zero.mean() > 0.8


def test_few_shot_summary(task):
    answers = answer(Words(), task)
    found = summarise(task, answers)
    asked = answers.asked[0]
    assert found["few_shot"][0] == pytest.approx(answers.few[0][asked].mean())
    assert found["zero_shot"] == pytest.approx(np.tile(answers.zero, (10, 1))[asked].mean())
    low, high = found["few_shot_interval"][2]
    assert low <= found["few_shot"][2] <= high
    assert [one["class"] for one in by_class(task, answers)] == ["a", "b", "c"]


def test_beyond_line_of_points_on_a_line():
    x = np.array([[0.1, 0.2, 0.4, 0.3]])
    y = 1 / (1 + np.exp(-(0.8 * np.log(x / (1 - x)) - 0.5)))
    y[0, 3] += 0.1
    above, line = beyond_line(x, y, np.array([True, True, True, False]), 1000)
    assert above[0] == pytest.approx([0, 0, 0, 0.1], abs=1e-9)
    assert (line.slope, line.intercept) == pytest.approx((0.8, -0.5))


def test_bootstrap_keeps_images_and_their_corruptions_together():
    held = np.arange(20) % 2 == 0
    right = {"held out": held, "new styles": held, "corrupted": np.tile(held, 3)}
    accuracy = bootstrapped([Point(kind="labels", seed=0, pairs=1, right=right)])
    assert accuracy["held out"][0, 0] == pytest.approx(0.5)
    assert accuracy["corrupted"] == pytest.approx(accuracy["held out"])
    assert np.abs(accuracy["new styles"] - accuracy["held out"]).max() > 0


def test_corruptions_change_images_and_keep_labels():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    changed = corrupted(Asked(pixels=pixels, targets=np.array([4, 7])))
    noisy, blurred, flat = np.split(changed.pixels.astype(float), 3)
    assert changed.targets.tolist() == [4, 7] * 3
    assert np.abs(noisy - pixels).mean() > 10
    assert blurred.std() < 0.4 * pixels.std()
    assert flat.std() == pytest.approx(0.3 * pixels.std(), rel=0.05)


def test_alike_whatever_place_size_and_ground():
    train = thumbnails(
        drawing("rectangle", "red"),
        drawing("ellipse", "black", "yellow", (14, 16, 60, 62)),
        drawing("polygon", "blue", box=(10, 60, 35, 10, 60, 60)),
    )
    score, which = alike(thumbnails(drawing("ellipse", "navy"), drawing("rectangle", "red")), train)
    assert which.tolist() == [1, 0]
    assert (score > 0.95).all()


def test_another_tint_is_not_alike():
    tests, train = (thumbnails(drawing("ellipse", colour)) for colour in ("red", "blue"))
    assert alike(tests, train)[0][0] > 0.99
    assert alike(tests, train, tint=0.2)[0][0] == -1


def test_an_empty_image_is_like_none():
    tests = thumbnails(Image.new("RGB", (72, 72), "white"))
    assert alike(tests, thumbnails(drawing("ellipse", "red")))[0][0] == pytest.approx(0)


def test_compare_by_hand():
    right = np.array([True] * 8 + [False] * 2 + [True] * 5 + [False] * 5)
    found = compare(right, np.arange(20) < 10)
    assert (found["share"], found["accuracy_overlap"], found["accuracy_clean"]) == (0.5, 0.8, 0.5)
    assert found["all_minus_clean"] == pytest.approx(0.15)
    assert found["p_value"] == pytest.approx(56 / 1024)  # 8, 9 or 10 heads of 10 coins


def test_thumbnail_is_what_stands_out():
    small = thumbnail(drawing("rectangle", "black", "white", (20, 20, 40, 40)))
    inside = small[:, 3:-3, 3:-3]
    assert small.shape == (4, 24, 24)
    assert inside[0].min() > 250
    assert inside[1:].max() < 5
