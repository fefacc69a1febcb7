from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, field
from typing import Any, ClassVar, Generic, Self, TypeVar, dataclass_transform, overload

from typing_extensions import disjoint_base

_T = TypeVar("_T")
_C = TypeVar("_C", bound=type)

def sealed(cls: _C) -> _C: ...

@disjoint_base
class FrozenDict(Mapping[str, Any]):
    def __new__(cls, mapping: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /) -> Self: ...
    def __getitem__(self, key: str, /) -> Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...

@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Facts:
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

@disjoint_base
class derived(Generic[_T]):  # noqa: N801 - used as property is
    def __new__(cls, compute: Callable[[Any], _T], /) -> Self: ...
    @overload
    def __get__(self, obj: None, cls: type | None = None, /) -> Self: ...
    @overload
    def __get__(self, obj: Any, cls: type | None = None, /) -> _T: ...
