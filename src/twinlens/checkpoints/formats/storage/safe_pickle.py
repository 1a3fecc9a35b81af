"""Pickles of tensors and modules, read without Python's unpickler.

The machine here knows the two dozen opcodes that torch writes into its files. It makes tuples,
lists, dicts, inert modules and descriptions of tensors from them; any other name in the pickle is
an error. Python's unpickler would import and call what the file names, and allocate as much memory
as the file asks for (a table of memos of any length).
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twinlens.checkpoints.formats.storage.arrays import DTYPES, DType

_MAX_DIMENSIONS = 8

_STORAGE_DTYPES: Mapping[str, DType] = {
    f"torch.{kind}Storage": DTYPES[name]
    for kind, name in (
        ("BFloat16", "bfloat16"),
        ("Bool", "bool"),
        ("Byte", "uint8"),
        ("Char", "int8"),
        ("ComplexDouble", "complex128"),
        ("ComplexFloat", "complex64"),
        ("Double", "float64"),
        ("Float", "float32"),
        ("Half", "float16"),
        ("Int", "int32"),
        ("Long", "int64"),
        ("Short", "int16"),
    )
} | {"torch.storage.UntypedStorage": DTYPES["uint8"]}


class _GlobalName(NamedTuple):
    """A class or function that the pickle asks for, of which only the name is used."""

    name: str


class PickledModule:
    """A module or other object: the name of its class and, of a module, its attributes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attributes: dict[str, object] = {}


class PickledStorage(NamedTuple):
    """Numbers that the file holds under a key."""

    dtype: DType
    key: str
    length: int


class OtherTensor:
    """A tensor of another kind: sparse, quantised, without numbers."""


class PickledTensor(NamedTuple):
    """A tensor: numbers of a storage, offset and strides counted in numbers."""

    storage: PickledStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _OtherKey:
    """A key of a dict that is neither a string nor a number."""


class _Mark:
    """The beginning of a tuple's, list's or dict's items on the stack."""


class _PickleMachine:
    """The state of a pickle that is being run."""

    def __init__(self, *, allows_objects: bool) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, PickledStorage] = {}
        self.allows_objects = allows_objects

    def pop_mark(self) -> list[Any]:
        """Pop the items above the last mark, and the mark."""
        items: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def is_top_object(self) -> bool:
        """True if the top of the stack is an object, whose content is dropped."""
        return self.allows_objects and type(self.stack[-1]) is PickledModule

    def require_top(self, kind: type[Any]) -> Any:
        """The top of the stack, which must be of this type."""
        if type(self.stack[-1]) is not kind:
            raise TypeError(f"got {type(self.stack[-1]).__name__}, expected {kind.__name__}")
        return self.stack[-1]


def read_pickle(data: bytes, *, allows_objects: bool = False) -> object:
    """Read a pickle that torch wrote: see `read_pickle_stream`."""
    return read_pickle_stream(io.BytesIO(data), objects=allows_objects)[0]


def read_pickle_stream(
    stream: io.BytesIO, *, objects: bool = False
) -> tuple[object, dict[str, PickledStorage]]:
    """Read one pickle that torch wrote, and stop behind it.

    Args:
        stream: The pickle's bytes, and perhaps others after them.
        objects: True if it may hold objects of any class. None is created: each is a
            `PickledModule` without attributes. Calls of functions are refused all the same.

    Returns:
        The pickled value, with tensors as `PickledTensor`; and all storages by their keys.

    Raises:
        ValueError: It is damaged, or asks for what is no part of a tensor or module.
        TypeError: The same, where things are of the wrong kind.
    """
    machine = _PickleMachine(allows_objects=objects)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                break
            if opcode.name not in _OPCODE_HANDLERS:
                raise ValueError(f"got the opcode {opcode.name}, expected those that torch writes")
            _OPCODE_HANDLERS[opcode.name](machine, argument)
        return machine.stack[-1], machine.storages
    except LookupError as error:
        raise ValueError("got a broken pickle, expected a whole one") from error


def _push_argument(machine: _PickleMachine, argument: Any) -> None:
    machine.stack.append(argument)


def _push_new(make: Callable[[], object]) -> Callable[[_PickleMachine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _make_tuple(count: int) -> Callable[[_PickleMachine, Any], None]:
    def step(machine: _PickleMachine, _: Any) -> None:
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return step


def _make_tuple_from_mark(machine: _PickleMachine, _: Any) -> None:
    machine.stack.append(tuple(machine.pop_mark()))


def _append(machine: _PickleMachine, _: Any) -> None:
    item = machine.stack.pop()
    if not machine.is_top_object():
        machine.require_top(list).append(item)


def _extend(machine: _PickleMachine, _: Any) -> None:
    items = machine.pop_mark()
    if not machine.is_top_object():
        machine.require_top(list).extend(items)


def _set_item(machine: _PickleMachine, _: Any) -> None:
    items = machine.stack[-2:]
    del machine.stack[-2:]
    if not machine.is_top_object():
        _update_dict(machine, machine.require_top(dict), items)


def _set_items(machine: _PickleMachine, _: Any) -> None:
    items = machine.pop_mark()
    if not machine.is_top_object():
        _update_dict(machine, machine.require_top(dict), items)


def _update_dict(machine: _PickleMachine, mapping: dict[Any, Any], items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str | int | float):
            if key in mapping:
                raise ValueError(f"got {str(key)[:50]!r} twice, expected unlike names")
            mapping[key] = value
        elif machine.allows_objects:
            mapping[_OtherKey()] = value
        else:  # a key may be nested without end, and would be hashed
            raise TypeError(f"got a key of type {type(key).__name__}, expected a name")


def _memo_put(machine: _PickleMachine, argument: Any) -> None:
    machine.memo[argument] = machine.stack[-1]


def _memo_get(machine: _PickleMachine, argument: Any) -> None:
    machine.stack.append(machine.memo[argument])


def _push_global(machine: _PickleMachine, argument: Any) -> None:
    name = argument.replace(" ", ".")
    known = name in _STORAGE_DTYPES or name in _ALLOWED_CALLS or name.startswith("__torch__.")
    if not known and not machine.allows_objects:
        raise ValueError(f"got a request for {name[:100]!r}, expected tensors and modules alone")
    machine.stack.append(_GlobalName(name))


def _new_module(machine: _PickleMachine, _: Any) -> None:
    arguments = machine.stack.pop()
    name = machine.require_top(_GlobalName).name
    if arguments != () or not (machine.allows_objects or name.startswith("__torch__.")):
        raise _refusal(machine, name, "an object made of", "a module without arguments")
    machine.stack[-1] = PickledModule(name)


def _refusal(machine: _PickleMachine, name: str, what: str, expected: str) -> ValueError:
    if machine.allows_objects:
        what, expected = "a request for", "a pickle of tensors alone"
    return ValueError(f"got {what} {name[:100]!r}, expected {expected}")


def _build_module(machine: _PickleMachine, _: Any) -> None:
    state = machine.stack.pop()
    if (
        machine.allows_objects
    ):  # the state of a class, or what an OrderedDict has beside its entries
        return
    if type(state) is not dict or not all(isinstance(key, str) for key in state):
        raise TypeError("got a module's state of another kind, expected attributes by name")
    machine.require_top(PickledModule).attributes = state


def _load_storage(machine: _PickleMachine, _: Any) -> None:
    """Read ("storage", its class, its key, its device, count of numbers), perhaps with a view."""
    _, kind, key, _, count, *views = machine.require_top(tuple)
    name = kind.name if type(kind) is _GlobalName else ""
    if not isinstance(key, str) or not isinstance(count, int) or any(views):
        name = ""
    if name not in _STORAGE_DTYPES:
        raise TypeError("got a storage of another kind, expected its type, key and length")
    machine.stack[-1] = machine.storages[key] = PickledStorage(_STORAGE_DTYPES[name], key, count)


def _call(machine: _PickleMachine, _: Any) -> None:
    arguments = machine.stack.pop()
    name = machine.require_top(_GlobalName).name
    if machine.allows_objects and name in _ALLOWED_DATA_CALLS:
        machine.stack[-1] = PickledModule(name)
    elif machine.allows_objects and name in _OTHER_TENSORS:
        machine.stack[-1] = OtherTensor()
    elif name in _ALLOWED_CALLS and type(arguments) is tuple:
        machine.stack[-1] = _ALLOWED_CALLS[name](*arguments)
    else:
        raise _refusal(machine, name, "a call of", "tensors and modules alone")


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> PickledTensor:
    numbers = (offset, *size, *stride)
    if type(storage) is not PickledStorage or not len(size) == len(stride) <= _MAX_DIMENSIONS:
        raise TypeError("got a tensor of another kind, expected storage, offset, shape, strides")
    if not all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers):
        raise ValueError("got a tensor of broken sizes, expected whole numbers")
    return PickledTensor(storage, offset, tuple(size), tuple(stride))


def _typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, kind: Any, *_: Any
) -> PickledTensor | OtherTensor:
    """A tensor over bytes: torch writes those types so that have no storage of their own."""
    name = kind.name.removeprefix("torch.") if type(kind) is _GlobalName else ""
    tensor = _rebuild_tensor(storage, offset, size, stride)
    if name not in DTYPES:
        return OtherTensor()
    dtype = DTYPES[name]
    return tensor._replace(
        storage=PickledStorage(dtype, storage.key, storage.length // dtype.itemsize)
    )


def _tensor_of_type(function: Any, kind: Any, arguments: Any, *_: object) -> object:
    """A tensor of a subclass, or a plain one with attributes."""
    is_plain = type(kind) is _GlobalName and kind.name in ("torch.Tensor", "torch._tensor.Tensor")
    if is_plain and type(function) is _GlobalName and function.name in _TENSORS:
        return _TENSORS[function.name](*arguments)
    return OtherTensor()


def _unwrap(value: object, *_: object) -> object:
    """The value, for lists of a type, typed values and parameters."""
    return value


_TENSORS: Mapping[str, Callable[..., object]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
}
_ALLOWED_CALLS: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": lambda: {},
    "torch._tensor._rebuild_from_type_v2": _tensor_of_type,
    "torch._utils._rebuild_parameter": _unwrap,
    "torch._utils._rebuild_parameter_with_state": _unwrap,
    **_TENSORS,
    "torch.jit._pickle.build_boollist": _unwrap,
    "torch.jit._pickle.build_doublelist": _unwrap,
    "torch.jit._pickle.build_intlist": _unwrap,
    "torch.jit._pickle.build_tensorlist": _unwrap,
    "torch.jit._pickle.restore_type_tag": _unwrap,
}

_ALLOWED_DATA_CALLS = {
    *("_codecs.encode", "datetime.date", "datetime.datetime", "datetime.timedelta"),
    *("collections.Counter", "collections.defaultdict", "collections.deque"),
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset")
    ),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath")),
    *("numpy.dtype", "torch.Size", "torch.device", "torch.serialization._get_layout"),
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
}
"""Calls that make plain data, allowed where objects are; none is made."""

_OTHER_TENSORS = {
    f"torch._utils._rebuild_{kind}"
    for kind in (
        *("sparse_tensor", "nested_tensor", "qtensor", "wrapper_subclass"),
        *("meta_tensor_no_storage", "device_tensor_from_cpu_tensor"),
    )
}
"""Calls that make tensors of other kinds; none is made."""

_OPCODE_HANDLERS: Mapping[str, Callable[[_PickleMachine, Any], None]] = {
    "PROTO": lambda machine, version: None,
    **dict.fromkeys(
        ("SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
        _push_argument,
    ),
    "NONE": _push_new(lambda: None),
    "NEWTRUE": _push_new(lambda: True),
    "NEWFALSE": _push_new(lambda: False),
    "MARK": _push_new(_Mark),
    "EMPTY_TUPLE": _push_new(tuple),
    "EMPTY_LIST": _push_new(list),
    "EMPTY_DICT": _push_new(dict),
    "TUPLE": _make_tuple_from_mark,
    "TUPLE1": _make_tuple(1),
    "TUPLE2": _make_tuple(2),
    "TUPLE3": _make_tuple(3),
    "APPEND": _append,
    "APPENDS": _extend,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _memo_put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _memo_get),
    "GLOBAL": _push_global,
    "NEWOBJ": _new_module,
    "BUILD": _build_module,
    "BINPERSID": _load_storage,
    "REDUCE": _call,
}
