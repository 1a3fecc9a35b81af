"""Files of torch.save: pickles of tensors by name, and of what trainers keep beside them.

torch's `weights_only` reads them. It refuses a file for any object in it; where that is a trainer's
own settings, the inert reader takes the weights out and makes nothing of the rest.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from twinlens.checkpoints.formats.storage.safe_pickle import Strided, read_pickle
from twinlens.checkpoints.formats.storage.torchscript import (
    PICKLE_LIMIT,
    check_place,
    tensor_reader,
)
from twinlens.checkpoints.formats.storage.zip_archive import StoredZip, require_proportion
from twinlens.checkpoints.formats.trainers import model_tables
from twinlens.errors import CheckpointError


def open_pickle(
    path: Path, archive: StoredZip | None = None, root: str = "", *, mapped: bool
) -> dict[str, Tensor]:
    """The tensors of a file of torch.save's.

    Args:
        path: The file.
        archive: The same as a zip, which all but files from before torch 1.6 are.
        root: The directory in the zip.
        mapped: Whether torch may map the file into memory.

    Raises:
        CheckpointError: It asks for anything but tensors and data, or holds no weights.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch wonders at, it then refuses
            loaded = torch.load(
                path if mapped else file,
                map_location="cpu",
                weights_only=True,
                mmap=mapped,
            )
    except pickle.UnpicklingError as error:
        if archive is not None and (found := _beside_objects(path, archive, root)) is not None:
            return found
        # torch's own message is a page on how to lift the guard.
        asked = re.search(r"GLOBAL (\S+)", str(error))
        what = f"a request for {asked[1][:100]!r}" if asked else "other objects"
        raise CheckpointError(f"{path}: got {what}, expected a pickle of tensors alone") from error
    return _state_dict(path, loaded)


def _beside_objects(path: Path, archive: StoredZip, root: str) -> dict[str, Tensor] | None:
    """The weights of a file that also holds objects, of which none is made.

    Trainers keep their settings (an `argparse.Namespace`, a dataclass, numpy's numbers) beside the
    weights. None if the file asks for a call, or no table in it holds a model.

    Raises:
        CheckpointError: A tensor of the model does not lie in the file.
    """
    try:
        data = read_pickle(archive.read(f"{root}/data.pkl", limit=PICKLE_LIMIT), objects=True)
    except (ValueError, TypeError):
        return None
    found = model_tables(data, lambda value: isinstance(value, Strided))
    if found is None:
        return None
    tensors: dict[str, object] = {}
    for name, value in found.items():
        tensors[name] = value
        if isinstance(value, Strided):
            check_place(f"{path}: {name}", value, archive, root)
            tensors[name] = tensor_reader(value, archive, root)()
    return _state_dict(path, tensors)


def _state_dict(path: Path, loaded: object) -> dict[str, Tensor]:
    """The tensors by name that a pickle holds, or that the tables in it do that hold a model.

    Raises:
        CheckpointError: There is anything else.
    """
    found = model_tables(loaded, lambda value: isinstance(value, Tensor))
    if found is not None:
        loaded = found
    elif isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{path}: got {type(loaded).__name__}, expected a mapping from names to tensors"
        )
    entries = cast(Mapping[object, object], loaded)
    tensors: dict[str, Tensor] = {}
    for name, value in entries.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise CheckpointError(
                f"{path}: got {type(value).__name__} under {str(name)[:100]!r}, expected names of "
                "plain tensors"
            )
        tensors[name] = cast(Tensor, value).detach()
    require_proportion(path, sum(tensor.nbytes for tensor in tensors.values()))
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _is_plain(value: object) -> bool:
    """Whether it is a tensor whose every number lies in memory of its own."""
    return (
        type(value) in (Tensor, nn.Parameter)
        and isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.nbytes <= value.untyped_storage().nbytes()
    )
