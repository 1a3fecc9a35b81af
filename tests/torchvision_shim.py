"""Torchvision's Python for the reference libraries; to be declared before they are imported."""

from twinlens.export.torchvision_shim import declare

__all__ = ["declare"]
