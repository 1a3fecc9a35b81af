"""The check of shapes itself: it is on, and every shape in a signature is seen by it."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

import twinlens
from tests.shapes import HOOKED, has_shape
from twinlens.model.loss.contrastive import contrastive_loss


def test_a_wrong_shape_is_an_error_in_tests():
    features, scale = torch.eye(2), torch.zeros(1)
    with pytest.raises(TypeCheckError, match="typechecking parameter 'logit_scale'"):
        contrastive_loss(features, features, scale)
    assert inspect.unwrap(contrastive_loss)(features, features, scale) > 0  # as it is for users


def functions() -> Iterator[Callable[..., Any]]:
    """Our functions and methods, as they are without the check."""
    for module_info in pkgutil.walk_packages(twinlens.__path__, "twinlens."):
        module = importlib.import_module(module_info.name)
        for thing in vars(module).values():
            for member in vars(thing).values() if inspect.isclass(thing) else [thing]:
                function = inspect.unwrap(member)
                if inspect.isfunction(function) and function.__module__ == module.__name__:
                    yield function


def test_every_shape_is_checked():
    # A name that is imported for type checkers only is not there when the hook looks for it, which
    # then checks nothing and says nothing.
    checked = 0
    for function in functions():
        for hint in map(str, function.__annotations__.values()):
            if re.search(r"\[(Tensor|np\.ndarray),", hint):
                assert has_shape(eval(hint, function.__globals__)), (function, hint)
                assert function.__module__.startswith(tuple(HOOKED)), function
                checked += 1
    assert checked > 30
