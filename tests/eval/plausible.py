"""Results of every task as they could be, over the images of a labelled data set."""

import numpy as np

from twinlens.data.samples import Dataset
from twinlens.eval.metrics.classification import calibration
from twinlens.eval.metrics.statistics import bootstrap_means, percentile_interval
from twinlens.eval.results.result import Evidence, ReferenceScore
from twinlens.eval.tasks.classification import (
    ClassificationResult,
    ClassResult,
    Confusion,
    Misclassification,
)
from twinlens.eval.tasks.linear_probe import FewShotResult, LinearProbeResult
from twinlens.eval.tasks.multi_label import ClassPrecision, MultiLabelResult
from twinlens.eval.tasks.retrieval import RetrievalExample, RetrievalResult, RetrievedCandidate
from twinlens.eval.tasks.robustness import RobustnessResult, ShiftedResult
from twinlens.eval.tasks.scores import CaptionScoreResult, ScoredPair

SUPERVISED = ReferenceScore(metric="acc1", value=0.71, model="ResNet-50", source="our own training")


def evidence(right: dict[str, np.ndarray], times: int = 200) -> Evidence:
    drawn = bootstrap_means(np.stack(list(right.values())).astype(np.float64), num_resamples=times)
    replicates = dict(zip(right, drawn.astype(np.float32), strict=True))
    return Evidence(samples_digest="0123456789abcdef", replicates=replicates, correct=right)


def intervals(kept: Evidence) -> dict[str, tuple[float, float]]:
    return {key: percentile_interval(one) for key, one in kept.replicates.items()}


def classification(dataset: Dataset, *, share: float = 0.55, seed: int = 0) -> ClassificationResult:
    """So large a share right, and a model that is somewhat too sure."""
    rng, names, count = np.random.default_rng(seed), dataset.classnames, len(dataset.samples)
    sure = rng.beta(2, 1.2, count)
    right = rng.random(count) < np.clip(share * 1.4 * sure, 0, 1)
    places = np.flatnonzero(~right)
    labels = [str(sample.label) for sample in dataset.samples]
    other = [names[(names.index(label) + 1) % len(names)] for label in labels]
    kept = evidence({"acc1": right, "acc5": right | (rng.random(count) < 0.6)})
    found = calibration(sure, right)
    return ClassificationResult(
        task="zeroshot_classification",
        dataset=dataset.name,
        metrics={key: float(one.mean()) for key, one in kept.correct.items()}
        | {"mean_per_class_recall": float(right.mean()) - 0.01, "ece": found.ece},
        intervals=intervals(kept),
        chance={"acc1": 1 / len(names), "acc5": min(1.0, 5 / len(names))},
        num_samples=count,
        unreadable={"a/broken": "got 3 bytes, expected an image"},
        references=(SUPERVISED,),
        language="en",
        templates=("an icon of a {}.", "a drawing of a {}.", "{}", "a {} emoji."),
        num_classes=len(names) + 2,
        num_unnamed_classes=1,
        shared_names={},
        per_class=[
            ClassResult(
                classname=name,
                recall=min(1.0, number / len(names) * 1.2),
                samples=3,
                mistaken_for=names[(number + 1) % len(names)],
            )
            for number, name in enumerate(names)
        ],
        confusions=[
            Confusion(
                truth=labels[place],
                predicted=other[place],
                images=12 - number,
                indices=tuple(places[number : number + 4].tolist()),
            )
            for number, place in enumerate(places[:12].tolist())
        ],
        calibration=found,
        most_confident_errors=[
            Misclassification(
                index=place,
                truth=labels[place],
                predicted=other[place],
                confidence=0.99 - number / 50,
            )
            for number, place in enumerate(places[-12:].tolist())
        ],
        evidence=kept,
    )


def retrieval(dataset: Dataset, *, seed: int = 0) -> RetrievalResult:
    rng, count = np.random.default_rng(seed), len(dataset.samples)
    rights = {
        f"{way}_retrieval_recall@{k}": rng.random(count) < share
        for way, shares in (("image", (0.4, 0.68, 0.79)), ("text", (0.45, 0.72, 0.83)))
        for k, share in zip((1, 5, 10), shares, strict=True)
    }
    kept = evidence(rights)
    return RetrievalResult(
        task="zeroshot_retrieval",
        dataset=dataset.name,
        metrics={key: float(one.mean()) for key, one in rights.items()}
        | {"image_retrieval_median_rank": 2.0, "text_retrieval_median_rank": 1.0},
        intervals=intervals(kept),
        chance={key: int(key.partition("@")[2]) / count for key in rights},
        num_samples=count,
        unreadable={},
        num_texts=2 * count,
        num_uncaptioned=3,
        num_truncated_texts=1,
        examples=_examples(dataset, rng),
        evidence=kept,
    )


def _examples(dataset: Dataset, rng: np.random.Generator) -> list[RetrievalExample]:
    captions = [(sample.captions or (str(sample.label),))[-1] for sample in dataset.samples]
    examples: list[RetrievalExample] = []
    for rank in (1, 1, 1, 1, 218, 305, 44, 97):
        place = int(rng.integers(len(captions)))
        found = [place, *rng.integers(len(captions), size=4).tolist()]
        if rank > 1:
            found = found[1:]
        texts = [
            RetrievedCandidate(
                text=captions[one], index=None, score=0.4 - n / 50, is_relevant=one == place
            )
            for n, one in enumerate(found)
        ]
        images = [
            RetrievedCandidate(text=None, index=one, score=0.4 - n / 50, is_relevant=one == place)
            for n, one in enumerate(found)
        ]
        by_text = RetrievalExample(
            text=captions[place], index=None, rank=rank, candidates=tuple(images)
        )
        by_image = RetrievalExample(text=None, index=place, rank=rank, candidates=tuple(texts))
        examples += [by_text, by_image]
    return examples


def probe(dataset: Dataset, *, seed: int = 0) -> LinearProbeResult:
    rng, count = np.random.default_rng(seed), len(dataset.samples)
    kept = evidence({"acc1": rng.random(count) < 0.82, "acc5": rng.random(count) < 0.95})
    strengths = np.logspace(-6, 6, 19)
    tried = {float(one): float(0.8 - 0.012 * (np.log10(one) + 1) ** 2) for one in strengths}
    return LinearProbeResult(
        task="linear_probe",
        dataset=dataset.name,
        metrics={key: float(one.mean()) for key, one in kept.correct.items()},
        intervals=intervals(kept),
        chance={"acc1": 1 / len(dataset.classnames)},
        num_samples=count,
        unreadable={},
        num_classes=len(dataset.classnames),
        num_train=4 * count,
        num_validation=count,
        l2_penalty=max(tried, key=lambda one: tried[one]),
        validation_accuracies={key: max(0.02, value) for key, value in tried.items()},
        few_shot=[
            FewShotResult(
                shots=k,
                accuracies=tuple((0.3 + 0.1 * np.log2(k) + 0.02 * rng.normal(size=5)).tolist()),
            )
            for k in (1, 2, 4, 8, 16)
        ],
        notes=("Two fits did not converge in 1,000 steps.",),
        evidence=kept,
    )


CORRUPTIONS = (
    "gaussian_noise",
    "defocus_blur",
    "motion_blur",
    "pixelate",
    "jpeg",
    "fog",
    "contrast",
)


def robustness(dataset: Dataset, *, seed: int = 0) -> RobustnessResult:
    rng, count = np.random.default_rng(seed), len(dataset.samples)
    kept = evidence({"acc1": rng.random(count) < 0.62, "acc1@sketches": rng.random(count) < 0.48})
    metrics = {key: float(one.mean()) for key, one in kept.correct.items()}
    corruptions = {
        name: tuple((0.6 - 0.02 * n - (0.04 + 0.006 * n) * np.arange(1, 6)).tolist())
        for n, name in enumerate(CORRUPTIONS)
    }
    baseline = [(x, max(0.02, 0.85 * x - 0.22)) for x in rng.uniform(0.35, 0.9, 12).tolist()]
    return RobustnessResult(
        task="robustness",
        dataset=dataset.name,
        metrics=metrics
        | {"corrupted_acc1": 0.41, "retained": 0.66, "effective_robustness@sketches": 0.147},
        intervals=intervals(kept),
        chance={"acc1": 1 / len(dataset.classnames)},
        num_samples=count,
        unreadable={},
        classified_by="names",
        num_classes=len(dataset.classnames),
        corruptions=corruptions,
        shifted=[
            ShiftedResult(
                dataset="sketches",
                accuracy=metrics["acc1@sketches"],
                interval=intervals(kept)["acc1@sketches"],
                num_samples=count,
                effective_robustness=0.147,
            ),
            ShiftedResult(
                dataset="another year",
                accuracy=0.55,
                interval=(0.5, 0.6),
                num_samples=300,
                effective_robustness=None,
            ),
        ],
        baselines={"sketches": baseline},
        evidence=kept,
    )


def captions(dataset: Dataset, *, seed: int = 0) -> CaptionScoreResult:
    found = np.sort(np.random.default_rng(seed).normal(0.68, 0.09, len(dataset.samples)))
    return CaptionScoreResult(
        task="scores",
        dataset=dataset.name,
        metrics={"clip_score": float(found.mean()), "ref_clip_score": float(found.mean()) + 0.05},
        intervals={"clip_score": (float(found.mean()) - 0.01, float(found.mean()) + 0.01)},
        chance={},
        num_samples=len(found),
        unreadable={},
        num_truncated_texts=0,
        pairs=[
            ScoredPair(
                key=sample.key,
                index=place,
                caption=(sample.captions or (str(sample.label),))[-1],
                score=float(score),
            )
            for place, (sample, score) in enumerate(zip(dataset.samples, found, strict=True))
        ],
    )


def multi_label(dataset: Dataset) -> MultiLabelResult:
    return MultiLabelResult(
        task="zeroshot_classification",
        dataset=dataset.name,
        metrics={"mean_average_precision": 0.71, "roc_auc": 0.9},
        intervals={"mean_average_precision": (0.69, 0.73)},
        chance={"mean_average_precision": 0.05, "roc_auc": 0.5},
        num_samples=len(dataset.samples),
        unreadable={},
        templates=("a photo with a {}.",),
        num_classes=len(dataset.classnames),
        per_class=[
            ClassPrecision(classname=name, average_precision=0.7, num_samples=3)
            for name in dataset.classnames
        ],
    )
