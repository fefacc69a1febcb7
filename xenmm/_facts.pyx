# SPDX-License-Identifier: MIT
"""Facts that do not change: classes of named fields whose values no Python code reaches a second time.

A frozen dataclass only asks: ``object.__setattr__`` and ``__dict__`` get past it. Here the values are a tuple
in a C field without a setter, the names are descriptors that refuse, and the class itself is immutable.
"""

from cpython.object cimport PyTypeObject

import dataclasses
from collections.abc import Mapping

from .errors import FrozenError

cdef extern from "Python.h":
    unsigned long Py_TPFLAGS_IMMUTABLETYPE
    unsigned long Py_TPFLAGS_HEAPTYPE

    # Of the struct only what is read and written here.
    ctypedef struct TypeFlags "PyTypeObject":
        unsigned long tp_flags

    void PyType_Modified(PyTypeObject *type)


def sealed(cls):
    """Make a class as immutable as a built-in one: none of its attributes can be set from then on.

    What is made from it later, subclasses and instances, is not concerned.
    """
    if not isinstance(cls, type):
        raise TypeError(f"only a class is sealed, not {type(cls).__name__}")
    PyType_Modified(<PyTypeObject *>cls)
    (<TypeFlags *><void *>cls).tp_flags |= Py_TPFLAGS_IMMUTABLETYPE
    return cls


cdef object _frozen(object value):
    """The value, with what is built in and would change replaced by what does not."""
    kind = type(value)
    if kind is list:
        return tuple([_frozen(v) for v in value])
    if kind is dict:
        return FrozenDict(value)
    if kind is tuple:
        # Most tuples hold nothing to replace, and stay the object that they are.
        for v in value:
            if type(v) in (list, dict, set, bytearray, tuple):
                return tuple([_frozen(v) for v in value])
    elif kind is set:
        return frozenset(value)
    elif kind is bytearray:
        return bytes(value)
    return value


cdef class FrozenDict:
    """A small mapping that does not change, and holds nothing that does, as far as built-in types go."""

    cdef tuple _keys
    cdef tuple _values
    cdef object __weakref__

    def __cinit__(self, mapping=(), /):
        items = dict(mapping)
        self._keys = tuple(items)
        self._values = tuple([_frozen(v) for v in items.values()])

    def __getitem__(self, key):
        for i in range(len(self._keys)):
            if self._keys[i] == key:
                return self._values[i]
        raise KeyError(key)

    def get(self, key, default=None, /):
        """The value of a key, or the default."""
        return self[key] if key in self else default

    def __contains__(self, key):
        return key in self._keys

    def __iter__(self):
        return iter(self._keys)

    def __len__(self):
        return len(self._keys)

    def keys(self):
        """The keys, in order."""
        return self._keys

    def values(self):
        """The values, in the keys' order."""
        return self._values

    def items(self):
        """The pairs, in the keys' order."""
        return tuple(zip(self._keys, self._values))

    def __eq__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        return dict(self.items()) == {k: _frozen(other[k]) for k in other}

    def __hash__(self):
        return hash(frozenset(self.items()))

    def __repr__(self):
        return f"{type(self).__name__}({dict(self.items())!r})"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return type(self), (dict(self.items()),)


Mapping.register(FrozenDict)


cdef class _Form:
    """The fields of a class: their names, in order, and what they are when not given."""

    cdef tuple names
    cdef dict places
    cdef list defaults
    cdef list made

    def __cinit__(self, cls):
        fields = dataclasses.fields(cls)
        self.names = tuple([f.name for f in fields])
        self.places = {name: i for i, name in enumerate(self.names)}
        self.defaults = [f.default_factory if f.default is dataclasses.MISSING else f.default for f in fields]
        self.made = [f.default_factory is not dataclasses.MISSING for f in fields]

    cdef tuple values(self, str owner, tuple args, dict named):
        cdef Py_ssize_t i, given = len(args), count = len(self.names)
        if given > count:
            raise TypeError(f"{owner} has {count} fields, got {given} values")
        cdef list values = list(args) + self.defaults[given:]
        for name, value in named.items():
            place = self.places.get(name)
            if place is None:
                raise TypeError(f"{owner} has no field {name!r}")
            if place < given:
                raise TypeError(f"{owner}: two values for the field {name!r}")
            values[place] = value
        for i in range(count):
            if i >= given and self.names[i] not in named:
                if values[i] is dataclasses.MISSING:
                    raise TypeError(f"{owner}: no value for the field {self.names[i]!r}")
                if self.made[i]:
                    values[i] = values[i]()
            values[i] = _frozen(values[i])
        return tuple(values)


cdef class _Member:
    """The descriptor of one field."""

    cdef Py_ssize_t place
    cdef readonly str __name__
    cdef readonly type __objclass__

    def __cinit__(self, place, name, owner):
        self.place = place
        self.__name__ = name
        self.__objclass__ = owner

    def __get__(self, obj, cls):
        if obj is None:
            return self
        if not isinstance(obj, self.__objclass__):
            raise TypeError(f"{self.__name__} is a field of {self.__objclass__.__name__}")
        return (<_Facts>obj).fields[self.place]

    def __set__(self, obj, value):
        raise FrozenError(f"{type(obj).__name__} does not change: cannot set {self.__name__}")

    def __delete__(self, obj):
        raise FrozenError(f"{type(obj).__name__} does not change: cannot delete {self.__name__}")


cdef class _Facts:
    """The fields of :class:`Facts`, out of Python's reach."""

    cdef tuple fields
    cdef tuple derived
    cdef object __weakref__

    def __cinit__(self, *args, **named):
        self.derived = ()
        form = getattr(type(self), "__facts__", None)
        if form is None:
            raise TypeError(f"{type(self).__name__} has no fields: derive a class from it")
        self.fields = (<_Form?>form).values(type(self).__name__, args, named)
        check = getattr(self, "__post_init__", None)
        if check is not None:
            check()

    def __setattr__(self, name, value):
        raise FrozenError(f"{type(self).__name__} does not change: cannot set {name}")

    def __delattr__(self, name):
        raise FrozenError(f"{type(self).__name__} does not change: cannot delete {name}")

    @property
    def __class__(self):
        # Of its own, so that object.__setattr__ does not reach the one of object, which swaps types.
        return type(self)

    def __eq__(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return self.fields == (<_Facts>other).fields

    def __hash__(self):
        return hash(self.fields)

    def __repr__(self):
        cdef _Form form = type(self).__facts__
        pairs = (f"{name}={value!r}" for name, value in zip(form.names, self.fields))
        return f"{type(self).__qualname__}({', '.join(pairs)})"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return type(self), self.fields


class Facts(_Facts):
    """Base of a class of named facts: a dataclass to look at, and nothing that can be changed.

    Fields, defaults and ``__post_init__`` (which may only refuse) are written as for a dataclass, and
    ``dataclasses.fields``, ``replace`` and ``asdict`` take it as one. A subclass says ``__slots__ = ()``.
    Lists that are given become tuples, dictionaries :class:`FrozenDict`. A copy is the object itself.
    """

    __slots__ = ()

    def __init_subclass__(cls, **named):
        super().__init_subclass__(**named)
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        form = _Form(cls)
        for i, field in enumerate(dataclasses.fields(cls)):
            setattr(cls, field.name, _Member(i, field.name, cls))
        cls.__facts__ = form
        sealed(cls)


sealed(Facts)


cdef class derived:
    """A property of facts that is computed once, at its first use, from the others."""

    cdef object _compute
    cdef readonly object __doc__
    cdef readonly object __name__

    def __cinit__(self, compute, /):
        self._compute = compute
        self.__doc__ = compute.__doc__
        self.__name__ = compute.__name__

    def __get__(self, obj, cls):
        if obj is None:
            return self
        cdef _Facts facts = <_Facts?>obj
        for known, value in facts.derived:
            if known is self:
                return value
        value = _frozen(self._compute(obj))
        facts.derived += ((self, value),)
        return value

    def __set__(self, obj, value):
        raise FrozenError(f"{type(obj).__name__} does not change: cannot set {self.__name__}")

    def __delete__(self, obj):
        raise FrozenError(f"{type(obj).__name__} does not change: cannot delete {self.__name__}")
