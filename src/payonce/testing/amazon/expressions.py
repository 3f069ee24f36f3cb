"""The little language of DynamoDB's expressions: words, paths, and a tree of conditions or of updates.

Source: docs.aws.amazon.com, DynamoDB developer guide, "Condition and filter expressions, operators, and functions", "Using
update expressions" and "Expression attribute names (aliases)" (read 2026-11). Checked as there:
every alias is defined and used, no reserved word stands bare.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .reserved import RESERVED
from .values import invalid, kind_of, order_of

Path = tuple[str | int, ...]
Node = tuple[Any, ...]  # ("path", Path) | ("value", Value) | ("call", name, args) | (word, parts...)

_TOKEN: Final = re.compile(r"\s*(?:([#:]?[A-Za-z0-9_]+)|(<>|<=|>=|[=<>(),.\[\]+-]))")
_COMPARE: Final = ("=", "<>", "<", "<=", ">", ">=")
_TESTS: Final[Mapping[str, int]] = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
}


class Names:
    """The aliases of one call, shared by all its expressions. ``all_used``, at the end, raises Refused for one that is not."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._names: Mapping[str, str] = params.get("ExpressionAttributeNames") or {}
        self._values: Mapping[str, Any] = params.get("ExpressionAttributeValues") or {}
        self._used: set[str] = set()
        for given in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            if given in params and not params[given]:
                raise invalid(f"{given} must not be empty")

    def name(self, word: str) -> str:
        if not word.startswith("#"):
            if word.upper() in RESERVED:
                raise invalid(f"Attribute name is a reserved keyword; reserved keyword: {word}")
            return word
        self._used.add(word)
        if word not in self._names:
            raise invalid(f"An expression attribute name used in the document path is not defined; attribute name: {word}")
        return self._names[word]

    def value(self, word: str) -> Any:
        self._used.add(word)
        if word not in self._values:
            raise invalid(f"An expression attribute value used in expression is not defined; attribute value: {word}")
        return self._values[word]

    def all_used(self) -> None:
        left = {*self._names, *self._values} - self._used
        if left:
            raise invalid(f"Value provided in ExpressionAttributeNames or Values unused in expressions: keys: {sorted(left)}")


class Reader:
    """One expression, read from left to right."""

    def __init__(self, text: str, names: Names, what: str) -> None:
        self.names, self._what, self._at = names, what, 0
        self._tokens: list[str] = []
        if not text.strip():
            raise invalid(f"Invalid {what}: The expression can not be empty;")
        end = 0
        for match in _TOKEN.finditer(text):
            if match.start() != end:
                break
            end = match.end()
            self._tokens.append(match.group(1) or match.group(2))
        if text[end:].strip():
            raise self.wrong(text[end:].strip()[:20])

    def wrong(self, near: str) -> Exception:
        return invalid(f"Invalid {self._what}: Syntax error; token: {near!r}")

    def peek(self, more: int = 0) -> str:
        at = self._at + more
        return self._tokens[at] if at < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def maybe(self, *words: str) -> str:
        """The next token in upper case if it is one of these, and then it is read; else ""."""
        token = self.peek().upper()
        if token in words:
            self._at += 1
            return token
        return ""

    def must(self, word: str) -> None:
        if not self.maybe(word):
            raise self.wrong(self.peek() or "<EOF>")

    def end(self) -> None:
        if self.peek():
            raise self.wrong(self.peek())

    def path(self) -> Path:
        """``a``, ``#a.b[0]``: names resolved."""
        token = self.next()
        if not re.fullmatch(r"#[A-Za-z0-9_]+|[A-Za-z][A-Za-z0-9_]*", token):
            raise self.wrong(token or "<EOF>")
        parts: list[str | int] = [self.names.name(token)]
        while self.peek() in (".", "["):
            if self.next() == ".":
                parts.append(self.names.name(self.next()))
            elif (index := self.next()).isdecimal():
                parts.append(int(index))
                self.must("]")
            else:
                raise self.wrong(index)
        return tuple(parts)

    def operand(self) -> Node:
        """A path, a value, or ``size(path)``."""
        word = self.peek()
        if word.startswith(":"):
            return ("value", self.names.value(self.next()))
        if word == "size" and self.peek(1) == "(":
            self._at += 2
            inner = self.path()
            self.must(")")
            return ("size", inner)
        return ("path", self.path())

    def listed(self, one: Callable[[], Any]) -> tuple[Any, ...]:
        found = [one()]
        while self.maybe(","):
            found.append(one())
        return tuple(found)


def condition(text: str, names: Names, what: str) -> Node:
    """The tree of a condition, filter or key condition. Raises Refused."""
    reader = Reader(text, names, what)
    tree = _either(reader)
    reader.end()
    return tree


def _either(r: Reader) -> Node:
    tree = _both(r)
    while r.maybe("OR"):
        tree = ("or", tree, _both(r))
    return tree


def _both(r: Reader) -> Node:
    tree = _negated(r)
    while r.maybe("AND"):
        tree = ("and", tree, _negated(r))
    return tree


def _negated(r: Reader) -> Node:
    return ("not", _negated(r)) if r.maybe("NOT") else _test(r)


def _test(r: Reader) -> Node:
    if r.maybe("("):
        tree = _either(r)
        r.must(")")
        return tree
    if r.peek(1) == "(" and (name := r.peek()) in _TESTS:
        r.next()
        r.must("(")
        args = r.listed(r.operand)
        r.must(")")
        if len(args) != _TESTS[name] or (name.startswith("attribute_") and args[0][0] != "path"):
            raise r.wrong(name)
        return ("call", name, args)
    left = r.operand()
    if r.maybe("BETWEEN"):
        low = r.operand()
        r.must("AND")
        return _between(left, low, r.operand())
    if r.maybe("IN"):
        r.must("(")
        members = r.listed(r.operand)
        r.must(")")
        return ("in", left, members)
    if (sign := r.next()) not in _COMPARE:
        raise r.wrong(sign or "<EOF>")
    return ("compare", sign, left, r.operand())


def _between(left: Node, low: Node, high: Node) -> Node:
    if low[0] == high[0] == "value":
        if kind_of(low[1]) != kind_of(high[1]):
            raise invalid("The BETWEEN operator requires same data type for lower and upper bounds")
        if kind_of(low[1]) in ("S", "N", "B") and order_of(low[1]) > order_of(high[1]):
            raise invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
    return ("between", left, low, high)


def update(text: str, names: Names) -> tuple[Node, ...]:
    """The actions of an update in order: ("SET", path, tree), ("REMOVE", path), ("ADD" | "DELETE", path, value). Raises Refused
    for a clause that comes twice and for paths that overlap."""
    reader, actions, seen = Reader(text, names, "UpdateExpression"), list[Node](), set[str]()
    while clause := reader.maybe("SET", "REMOVE", "ADD", "DELETE"):
        if clause in seen:
            raise invalid(f'Invalid UpdateExpression: The "{clause}" section can only be used once in an update expression;')
        seen.add(clause)
        actions += [(clause, *each) for each in reader.listed(lambda kind=clause: _action(reader, kind))]  # type: ignore[misc]
    reader.end()
    paths = [action[1] for action in actions]
    for number, one in enumerate(paths):
        if any(one[: len(other)] == other or other[: len(one)] == one for other in paths[:number]):
            raise invalid("Invalid UpdateExpression: Two document paths overlap with each other")
    return tuple(actions)


def _action(r: Reader, clause: str) -> Node:
    path = r.path()
    if clause == "REMOVE":
        return (path,)
    if clause == "SET":
        r.must("=")
        return (path, _sum(r))
    value = r.operand()
    if value[0] != "value":
        raise r.wrong(clause)
    return (path, value[1])


def _sum(r: Reader) -> Node:
    left = _term(r)
    if sign := r.maybe("+", "-"):
        return (sign, left, _term(r))
    return left


def _term(r: Reader) -> Node:
    if r.peek(1) == "(" and (name := r.peek()) in ("if_not_exists", "list_append"):
        r.next()
        r.must("(")
        first = _term(r)
        r.must(",")
        second = _term(r)
        r.must(")")
        if name == "if_not_exists" and first[0] != "path":
            raise r.wrong(name)
        return (name, first, second)
    return r.operand()


def projection(text: str, names: Names) -> tuple[Path, ...]:
    reader = Reader(text, names, "ProjectionExpression")
    paths: tuple[Path, ...] = reader.listed(reader.path)
    reader.end()
    return paths
