"""Pickles of tensors and modules, read without Python's unpickler.

The machine here knows the two dozen opcodes that torch writes into TorchScript archives, and makes
tuples, lists, dicts, inert modules and descriptions of tensors from them; a name of anything else
is an error. Python's unpickler would import and call, and allots memory as the file asks for it (a
table of memos of any length).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

_DIMENSIONS_LIMIT = 8

_STORAGES = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
    "torch.CharStorage": torch.int8,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
    "torch.ShortStorage": torch.int16,
}


class _Global(NamedTuple):
    """A name that the pickle asks for; it stays a name."""

    name: str


class Module:
    """A module of any class: its attributes."""

    def __init__(self) -> None:
        self.attributes: dict[str, object] = {}


class Storage(NamedTuple):
    """Numbers in the member `data/<key>`."""

    dtype: torch.dtype
    key: str
    length: int


class Strided(NamedTuple):
    """A tensor: numbers of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Mark:
    """Where the items of a tuple, list or dict begin on the stack."""


class _Machine:
    """The state of a pickle that is being run."""

    def __init__(self, *, objects: bool) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.objects = objects

    def since_mark(self) -> list[Any]:
        """Takes what lies above the last mark, and the mark."""
        items: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def on_object(self) -> bool:
        """Whether the topmost is an object, of which nothing is kept."""
        return self.objects and type(self.stack[-1]) is Module

    def top(self, kind: type[Any]) -> Any:
        """The topmost, which must be of a kind."""
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"got {type(self.stack[-1]).__name__}, expected {kind.__name__}")
        return self.stack[-1]


def read_pickle(data: bytes, *, objects: bool = False) -> object:
    """What a pickle of torch's describes.

    Args:
        data: The pickle.
        objects: Whether objects of any class may be in it. None is made: each is a `Module`
            without attributes. Calls of functions are refused all the same.

    Raises:
        ValueError: It is damaged, or asks for what is no part of a tensor or module.
        TypeError: The same, where things are of the wrong kind.
    """
    machine = _Machine(objects=objects)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            if opcode.name not in _STEPS:
                raise ValueError(f"got the opcode {opcode.name}, expected those that torch writes")
            _STEPS[opcode.name](machine, argument)
        return machine.stack[-1]
    except LookupError as error:
        raise ValueError("got a broken pickle, expected a whole one") from error


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _pushing(make: Callable[[], object]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return step


def _tuple_since_mark(machine: _Machine, _: Any) -> None:
    machine.stack.append(tuple(machine.since_mark()))


def _append(machine: _Machine, _: Any) -> None:
    item = machine.stack.pop()
    if not machine.on_object():
        machine.top(list).append(item)


def _append_all(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    if not machine.on_object():
        machine.top(list).extend(items)


def _set_item(machine: _Machine, _: Any) -> None:
    items = machine.stack[-2:]
    del machine.stack[-2:]
    if not machine.on_object():
        _fill(machine.top(dict), items)


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    if not machine.on_object():
        _fill(machine.top(dict), items)


def _fill(mapping: dict[Any, Any], items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float):  # what could be nested without end has a hash
            raise TypeError(f"got a key of type {type(key).__name__}, expected a name")
        if key in mapping:
            raise ValueError(f"got {str(key)[:50]!r} twice, expected unlike names")
        mapping[key] = value


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[argument] = machine.stack[-1]


def _get(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.memo[argument])


def _global(machine: _Machine, argument: Any) -> None:
    name = argument.replace(" ", ".")
    known = name in _STORAGES or name in _CALLS or name.startswith("__torch__.")
    if not known and not machine.objects:
        raise ValueError(f"got a request for {name[:100]!r}, expected tensors and modules alone")
    machine.stack.append(_Global(name))


def _new_module(machine: _Machine, _: Any) -> None:
    arguments = machine.stack.pop()
    name = machine.top(_Global).name
    if arguments != () or not (machine.objects or name.startswith("__torch__.")):
        raise ValueError(
            f"got an object made of {name[:100]!r}, expected a module without arguments"
        )
    machine.stack[-1] = Module()


def _build_module(machine: _Machine, _: Any) -> None:
    state = machine.stack.pop()
    if machine.objects:  # the state of a class, or what an OrderedDict has beside its entries
        return
    if type(state) is not dict or not all(isinstance(key, str) for key in state):
        raise TypeError("got a module's state of another kind, expected attributes by name")
    machine.top(Module).attributes = state


def _storage(machine: _Machine, _: Any) -> None:
    """A storage is told as ("storage", its class, its key, its device, how many numbers)."""
    _, kind, key, _, count = machine.top(tuple)
    name = kind.name if type(kind) is _Global else ""
    if name not in _STORAGES or not isinstance(key, str) or not isinstance(count, int):
        raise TypeError("got a storage of another kind, expected its type, key and length")
    machine.stack[-1] = Storage(_STORAGES[name], key, count)


def _call(machine: _Machine, _: Any) -> None:
    arguments = machine.stack.pop()
    name = machine.top(_Global).name
    if machine.objects and name in _DATA:
        machine.stack[-1] = Module()
        return
    if name not in _CALLS or type(arguments) is not tuple:
        raise ValueError(f"got a call of {name[:100]!r}, expected tensors and modules alone")
    machine.stack[-1] = _CALLS[name](*arguments)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Strided:
    numbers = (offset, *size, *stride)
    if type(storage) is not Storage or not len(size) == len(stride) <= _DIMENSIONS_LIMIT:
        raise TypeError("got a tensor of another kind, expected storage, offset, shape, strides")
    if not all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers):
        raise ValueError("got a tensor of broken sizes, expected whole numbers")
    return Strided(storage, offset, tuple(size), tuple(stride))


def _first(value: object, *_: object) -> object:
    """What stands for lists of a type, typed values and parameters: the value."""
    return value


_CALLS: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": lambda: {},
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.jit._pickle.restore_type_tag": _first,
}

_DATA = {
    *("_codecs.encode", "datetime.date", "datetime.datetime", "datetime.timedelta"),
    *("collections.Counter", "collections.defaultdict", "collections.deque"),
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset")
    ),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")),
    *("numpy.dtype", "torch.Size", "torch.device"),
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
}
"""Calls that make plain data, where there may be objects; none is made."""

_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, version: None,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _push),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "MARK": _pushing(_Mark),
    "EMPTY_TUPLE": _pushing(tuple),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_DICT": _pushing(dict),
    "TUPLE": _tuple_since_mark,
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": _append,
    "APPENDS": _append_all,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _get),
    "GLOBAL": _global,
    "NEWOBJ": _new_module,
    "BUILD": _build_module,
    "BINPERSID": _storage,
    "REDUCE": _call,
}
