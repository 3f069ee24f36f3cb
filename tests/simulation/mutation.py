"""A mutant is payonce with one rule taken away: some text of its source replaced by other text, as a careless hand would.

The edit is made in memory, in the function's own code object, so that whoever imported it runs the edited one, the oracles
of the simulator included: the same as an edited file. Data only, so a mutant is applied in any process by its name."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from textwrap import dedent
from types import FunctionType
from typing import Any, NamedTuple

# Which room a module belongs to, for the table; the first that fits.
ROOMS = (
    ("payonce.core", "core"),
    ("payonce.stores", "store"),
    ("payonce.providers", "adapter"),
    ("payonce.health", "health"),
    ("payonce.dispatch", "dispatch"),
    ("payonce.engine", "engine"),
    ("payonce.intake", "engine"),
    ("payonce.inbox", "inbox"),
    ("payonce.process", "worker"),
    ("payonce.bootstrap", "worker"),
    ("payonce.restore", "restore"),
    ("payonce.outbound", "outbound"),
    ("payonce.lanes", "dispatch"),
    ("payonce.outside", "restore"),
    ("payonce.testing", "transport"),  # the simulator's own wire stands for it
)


class Edit(NamedTuple):
    """``at`` is "module:function", "module:Class.method" or "module:NAME". ``was`` must stand in it exactly once; of a
    constant it is empty, and ``now`` is its new value, an expression in the words of its module."""

    at: str
    was: str
    now: str


class Mutant(NamedTuple):
    name: str
    rule: str  # that is taken away
    edits: tuple[Edit, ...]

    @property
    def room(self) -> str:
        module = self.edits[0].at.partition(":")[0]
        return next(room for prefix, room in ROOMS if module.startswith(prefix))


def mutant(name: str, rule: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, rule, tuple(Edit(f"payonce.{at}", was, now) for at, was, now in edits))


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """payonce with this mutant, until the end. Raises ValueError when the source no longer has the text."""
    with ExitStack() as stack:
        for at in dict.fromkeys(edit.at for edit in mutant.edits):
            stack.enter_context(_edited(at, [edit for edit in mutant.edits if edit.at == at]))
        yield


@contextmanager
def _edited(at: str, edits: Sequence[Edit]) -> Iterator[None]:
    module_name, _, name = at.partition(":")
    module = import_module(module_name)
    *path, last = name.split(".")
    owner: Any = module
    for part in path:
        owner = getattr(owner, part)
    if not edits[0].was:
        yield from _revalued(owner, last, eval(edits[0].now, dict(vars(module))))  # noqa: S307 - our own table
        return
    function = _function(inspect.getattr_static(owner, last))
    before = function.__code__
    function.__code__ = _changed(function, edits)
    try:
        yield
    finally:
        function.__code__ = before


def _revalued(owner: Any, name: str, value: Any) -> Iterator[None]:
    """A constant, with everybody who imported it."""
    before = getattr(owner, name)
    modules = [m for key, m in list(sys.modules.items()) if key.startswith("payonce") and m is not None]
    holders = {id(each): each for each in (owner, *modules) if vars(each).get(name) is before}
    for each in holders.values():
        setattr(each, name, value)
    try:
        yield
    finally:
        for each in holders.values():
            setattr(each, name, before)


def _function(found: Any) -> FunctionType:
    if isinstance(found, property):
        found = found.fget
    found = getattr(found, "__func__", found)
    found = getattr(found, "__wrapped__", found)
    assert isinstance(found, FunctionType), f"{found} is no function"
    return found


def _changed(function: FunctionType, edits: Sequence[Edit]) -> Any:
    source, at = inspect.getsource(function), edits[0].at
    for edit in edits:
        if source.count(edit.was) != 1:
            raise ValueError(f"{at} has {source.count(edit.was)} times, not once: {edit.was!r}. Put the mutant right.")
        source = source.replace(edit.was, edit.now)
    lines = dedent(source).splitlines(keepends=True)
    start = next(n for n, line in enumerate(lines) if line.startswith(("def ", "async def ")))
    made: dict[str, Any] = {}
    exec(compile("".join(lines[start:]), f"<mutant of {at}>", "exec"), function.__globals__, made)  # noqa: S102
    code = made[function.__name__].__code__
    if code.co_freevars != function.__code__.co_freevars:
        raise ValueError(f"{at} is a closure and cannot be mutated")
    return code
