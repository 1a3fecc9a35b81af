"""Pictures and captions that find each other, with several captions a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twinlens.errors import DataError
from twinlens.eval.result import Evidence, Example, Found, RetrievalResult, samples_digest
from twinlens.eval.retrieval import measure as measure_arrays
from twinlens.eval.retrieval import top_candidates
from twinlens.eval.statistics import bootstrap_means, intervals_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.data.samples import Dataset
    from twinlens.eval.features import Features
    from twinlens.types import Count, Embeddings
