"""Golden numbers: seeded tiny models whose logits, loss and gradients are written down.

A change here is a change of the mathematics: either a mistake, or one that the change log names.
`python -m tests.golden.test_model` prints the numbers of the present code.
"""

import json
from pathlib import Path

import pytest
import torch

from tests.tiny import tiny_clip
from twinlens.model.loss.contrastive import contrastive_loss

GOLDEN = Path(__file__).with_name("model.json")


def numbers(kind: str) -> dict[str, list[float]]:
    """Logits of a batch, its loss, and the gradient's norm at each parameter."""
    model = tiny_clip(kind)
    pixels = torch.linspace(-2, 2, 4 * 3 * 32 * 32).sin().view(4, 3, 32, 32)
    images = pixels * torch.tensor([1.0, -0.5, 0.3, 2.0]).view(4, 1, 1, 1)
    tokens = torch.tensor([[62, 5, 63, 0], [62, 6, 7, 63], [62, 63, 0, 0], [62, 9, 9, 63]])
    logits, _ = model(images, tokens)
    loss = contrastive_loss(
        model.encode_image(images), model.encode_text(tokens), model.logit_scale
    )
    loss.backward()
    norms = [float(p.grad.norm()) for p in model.parameters() if p.grad is not None]
    return {"logits": logits.flatten().tolist(), "loss": [loss.item()], "gradients": norms}


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_numbers_are_those_written_down(kind: str):
    expected = json.loads(GOLDEN.read_text())[kind]
    for what, values in numbers(kind).items():
        assert values == pytest.approx(expected[what], rel=2e-3, abs=2e-4), what


if __name__ == "__main__":
    print(json.dumps({kind: numbers(kind) for kind in ("vit", "resnet")}, indent=1))  # noqa: T201
