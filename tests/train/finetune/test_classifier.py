"""The classifier head as a module."""

import numpy as np
import torch

from twinlens.train.finetune.classifier import ClassifierModule

WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_logits_are_on_the_scale_of_the_model():
    module = ClassifierModule(WEIGHT)
    logits = module(torch.tensor([[3.0, 0.0, 4.0]]), torch.tensor(2.0).log())
    expected = 2 * torch.tensor([[0.6, 0.0, 0.8]]) @ torch.from_numpy(WEIGHT)
    torch.testing.assert_close(logits, expected)
