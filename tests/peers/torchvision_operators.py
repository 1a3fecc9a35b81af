"""Torchvision's Python beside a torch that it was not built for; loaded when Python starts.

Torchvision describes operators of its compiled half at the import, and stops where that half cannot
be loaded. Here they are declared first. Nobody can compute them: what is wanted of torchvision are
its transforms, which are Python.
"""

import sys
from importlib.abc import MetaPathFinder

_OPERATORS = (
    "nms(Tensor boxes, Tensor scores, float threshold) -> Tensor",
    "qnms(Tensor boxes, Tensor scores, float threshold) -> Tensor",
    "roi_align(Tensor x) -> Tensor",
    "_roi_align_backward(Tensor x) -> Tensor",
    "qroi_align(Tensor x) -> Tensor",
    "roi_pool(Tensor x) -> Tensor",
    "_roi_pool_backward(Tensor x) -> Tensor",
    "ps_roi_align(Tensor x) -> Tensor",
    "_ps_roi_align_backward(Tensor x) -> Tensor",
    "ps_roi_pool(Tensor x) -> Tensor",
    "_ps_roi_pool_backward(Tensor x) -> Tensor",
    "deform_conv2d(Tensor x) -> Tensor",
    "_deform_conv2d_backward(Tensor x) -> Tensor",
)
_declared = []  # a library that is let go takes its operators along


class DeclareFirst(MetaPathFinder):
    """Finds nothing: it hears that torchvision is about to be imported."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision" and not _declared:
            import torch  # noqa: PLC0415  most programs need neither

            library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in _OPERATORS:
                library.define(operator)
            _declared.append(library)


sys.meta_path.insert(0, DeclareFirst())
