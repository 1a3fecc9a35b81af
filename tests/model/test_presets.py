"""The presets have the sizes that were published."""

import pytest
import torch

from twinlens.model import presets
from twinlens.model.clip import CLIP

PARAMETERS = {
    "rn50": 102_007_137,
    "rn101": 119_688_033,
    "rn50x4": 178_300_601,
    "rn50x16": 290_979_217,
    "rn50x64": 623_258_305,
    "vit_b_32": 151_277_313,
    "vit_b_16": 149_620_737,
    "vit_l_14": 427_616_513,
    "vit_l_14_336": 427_944_193,
}


@pytest.mark.parametrize(("preset", "expected"), PARAMETERS.items())
def test_presets_have_the_paper_s_number_of_parameters(preset: str, expected: int):
    with torch.device("meta"):
        model = CLIP(getattr(presets, preset)())
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_the_embedded_architecture_fits_its_24_megabytes_in_half_precision():
    with torch.device("meta"):
        model = CLIP(presets.icons_small())
    assert sum(value.numel() for value in model.state_dict().values()) * 2 <= 24_000_000
