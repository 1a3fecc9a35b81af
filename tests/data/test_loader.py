"""The order of the data: a function of seed and step, whoever asks."""

import io
import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from twinlens.data.augment import Augmentation
from twinlens.data.datasets import Dataset, Sample
from twinlens.data.loader import Batch, PairLoader
from twinlens.errors import DataError
from twinlens.text.clip_bpe import Tokenizer


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Ten plain images whose grey value is their number."""
    root = tmp_path_factory.mktemp("plain")
    found: list[Sample] = []
    for number in range(10):
        path = root / f"{number}.png"
        Image.new("RGB", (20, 30), (number, number, number)).save(path)
        captions = (f"image {number}", f"number {number}")
        found.append(Sample(key=path.name, source=path, captions=captions, concept=str(number % 4)))
    return found


def loader(
    samples: list[Sample], *, classnames: tuple[str, ...] = (), **changes: object
) -> PairLoader:
    settings = {
        "batch_size": 4,
        "image_size": 16,
        "context_length": 8,
        "augmentation": Augmentation(),
        "seed": 3,
    }
    dataset = Dataset(name="plain", samples=samples, classnames=classnames)
    return PairLoader(dataset, Tokenizer.clip(), **(settings | changes))  # pyright: ignore


def numbers(pixels: torch.Tensor) -> list[int]:
    return pixels[:, 0, 0, 0].tolist()


def test_an_epoch_shows_every_sample_once(samples: list[Sample]):
    seen = [n for step in range(5) for n in numbers(loader(samples).batch(step).pixels)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_a_batch_is_the_same_however_it_is_reached(samples: list[Sample]):
    augmentation = Augmentation(min_crop_side=0.5, max_rotation=20, colour_std=0.2)
    settings = {"augmentation": augmentation, "captions_per_image": 2}
    streamed = list(loader(samples, **settings).batches(0, 7))
    resumed = list(loader(samples, **settings).batches(4, 7))
    alone = [loader(samples, **settings).batch(step) for step in range(7)]
    two, four = (list(loader(samples, **settings).batches(0, 7, workers=n)) for n in (2, 4))
    assert len(streamed) == 7
    for batches, expected in ((streamed, alone), (resumed, alone[4:]), (two, alone), (four, alone)):
        for batch, other in zip(batches, expected, strict=True):
            assert_equal(batch, other)


def assert_equal(batch: Batch, other: Batch) -> None:
    for name in ("pixels", "tokens", "concept_ids", "patch_indices", "labels"):
        one, two = getattr(batch, name), getattr(other, name)
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two), name
    assert batch.bad_samples == other.bad_samples


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_shares_of_a_world_join_to_the_same_batch(samples: list[Sample], world_size: int):
    settings = {
        "batch_size": 12,
        "augmentation": Augmentation(
            min_crop_side=0.5,
            max_rotation=20,
            max_stretch=0.1,
            colour_std=0.2,
            greyscale_probability=0.3,
        ),
        "captions_per_image": 2,
        "patch_counts": (16, 4),
    }
    whole = loader(samples, **settings).batch(5)
    shares = [
        next(loader(samples, **settings, rank=rank, world_size=world_size).batches(5, 6, workers=1))
        for rank in range(world_size)
    ]
    assert torch.equal(torch.cat([share.pixels for share in shares]), whole.pixels)
    assert torch.equal(torch.cat([share.patch_indices for share in shares]), whole.patch_indices)
    assert torch.equal(torch.cat([share.tokens for share in shares], dim=1), whole.tokens)
    assert torch.equal(torch.cat([share.concept_ids for share in shares], dim=1), whole.concept_ids)


def test_patches_are_kept_in_order_and_differ_from_place_to_place(samples: list[Sample]):
    kept = loader(samples, batch_size=40, patch_counts=(16, 4)).batch(0).patch_indices
    assert kept.shape == (40, 4)
    assert (kept.diff(dim=1) > 0).all()
    assert 0 <= kept.min() < kept.max() < 16
    assert len({tuple(row) for row in kept.tolist()}) > 30


def test_labels_are_places_among_the_class_names(samples: list[Sample]):
    labelled = [replace(s, label=f"class {n % 3}") for n, s in enumerate(samples)]
    names = ("class 2", "class 0", "class 1")
    batch = loader(labelled, classnames=names, with_labels=True).batch(0)
    expected = [names.index(f"class {n % 3}") for n in numbers(batch.pixels)]
    assert batch.labels.tolist() == expected
    mixed = [*labelled[:9], replace(labelled[9], label=None)]
    batch = loader(mixed, classnames=names, with_labels=True, batch_size=10).batch(0)
    assert "got the label None" in batch.bad_samples[0].reason


def test_seeds_differ(samples: list[Sample]):
    assert numbers(loader(samples).batch(0).pixels) != numbers(
        loader(samples, seed=4).batch(0).pixels
    )


def test_captions_and_concepts_belong_to_their_image(samples: list[Sample]):
    batch = loader(samples, batch_size=40).batch(0)
    tokenizer, heads = Tokenizer.clip(), set()
    for number, tokens, concept in zip(
        numbers(batch.pixels), batch.tokens[0], batch.concept_ids[0].tolist(), strict=True
    ):
        head, tail = tokenizer.decode(tokens.tolist()).split()
        heads.add(head)
        assert tail == str(number)
        others = [n % 4 == number % 4 for n in numbers(batch.pixels)]
        assert (batch.concept_ids[0] == concept).tolist() == others
    assert heads == {"image", "number"}


def test_several_captions_a_image(samples: list[Sample]):
    nameless = [replace(sample, concept=None) for sample in samples]
    batch = loader(nameless, batch_size=40, captions_per_image=3).batch(0)
    assert batch.tokens.shape == (3, 40, 8)
    tokenizer = Tokenizer.clip()
    for tokens, concepts in zip(batch.tokens, batch.concept_ids, strict=True):
        texts = [tokenizer.decode(row.tolist()) for row in tokens]
        assert [text.split()[1] for text in texts] == [str(n) for n in numbers(batch.pixels)]
        # Nobody said what the images depict: equal captions count as the same thing.
        assert (
            len(set(texts))
            == len(set(concepts.tolist()))
            == len(set(zip(texts, concepts.tolist(), strict=True)))
        )
    assert not torch.equal(batch.tokens[0], batch.tokens[1])


def drawn(sample: Sample, captions: int, times: int) -> list[Counter[str]]:
    """What each set drew from one image's captions."""
    batch = loader([sample], batch_size=times, captions_per_image=captions).batch(0)
    decode = Tokenizer.clip().decode
    return [Counter(decode(row.tolist()).strip() for row in tokens) for tokens in batch.tokens]


def test_each_set_draws_from_its_own_share_of_the_captions(samples: list[Sample]):
    words = ("ant", "bee", "cat", "dog", "eel")
    sets = drawn(replace(samples[0], captions=words), captions=3, times=1500)
    # Fifteen numbers: three a caption, five a set.
    expected = [{"ant": 3, "bee": 2}, {"bee": 1, "cat": 3, "dog": 1}, {"dog": 2, "eel": 3}]
    for found, shares in zip(sets, expected, strict=True):
        assert found.keys() == shares.keys()
        for word, fifths in shares.items():
            assert found[word] / 1500 == pytest.approx(fifths / 5, abs=0.05)
    together = sets[0] + sets[1] + sets[2]
    assert all(together[word] / 4500 == pytest.approx(1 / 5, abs=0.03) for word in words)


def test_one_set_draws_from_all_captions(samples: list[Sample]):
    words = ("ant", "bee", "cat")
    [found] = drawn(replace(samples[0], captions=words), captions=1, times=900)
    assert found.keys() == set(words)
    assert all(found[word] / 900 == pytest.approx(1 / 3, abs=0.05) for word in words)


def test_fewer_captions_than_sets_serve_several(samples: list[Sample]):
    assert drawn(replace(samples[0], captions=("ant",)), captions=3, times=4) == [{"ant": 4}] * 3
    first, middle, last = drawn(replace(samples[0], captions=("ant", "bee")), captions=3, times=40)
    assert (first, last) == ({"ant": 40}, {"bee": 40})
    assert middle.keys() == {"ant", "bee"}


def test_long_captions_are_cut_and_counted(samples: list[Sample]):
    batch = loader(samples, context_length=3).batch(0)
    assert batch.num_truncated == 4
    assert batch.tokens.shape == (1, 4, 3)
    assert (batch.tokens[0, :, -1] == Tokenizer.clip().end_id).all()
    exact = loader(samples, context_length=4).batch(0)  # start, two words, end: it fits
    assert exact.num_truncated == 0


def test_no_samples_and_no_captions_are_errors(samples: list[Sample], tmp_path: Path):
    with pytest.raises(DataError, match="got no samples"):
        loader([])
    silent = Sample(key="silent", source=samples[0].source)
    with pytest.raises(DataError, match=r"1,001 samples in a row are bad: .*0\.png: got no"):
        loader([silent]).batch(0)


def test_a_process_that_dies_is_one_clear_error(samples: list[Sample]):
    class Deadly(PairLoader):
        def batch(self, step: int) -> Batch:
            if step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().batch(step)

    deadly = loader(samples)
    deadly.__class__ = Deadly
    with pytest.raises(DataError, match=r"a process that reads images died .*worker"):
        list(deadly.batches(0, 6, workers=2))


def test_a_broken_image_is_replaced_and_told_of(samples: list[Sample], tmp_path: Path):
    encoded = io.BytesIO()
    Image.new("RGB", (64, 64)).save(encoded, "PNG")
    broken = tmp_path / "broken.png"
    broken.write_bytes(encoded.getvalue()[:60])
    bad = Sample(key="broken.png", source=broken, captions=("x",))
    whole = loader([*samples, samples[0]], batch_size=11).batch(0)
    for workers in (0, 2):
        [batch] = loader([*samples, bad], batch_size=11).batches(0, 1, workers=workers)
        [told] = batch.bad_samples
        assert "broken.png" in told.reason
        place = told.position
        assert numbers(batch.pixels)[place] == int(told.replaced_by.removesuffix(".png"))
        others = [place != n for n in range(11)]
        assert torch.equal(batch.pixels[others], whole.pixels[others])  # nobody else has moved
