"""What an expression comes to on an item: whether a condition holds, the item after an update, the projected parts."""

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .expressions import Node, Path
from .values import Item, Value, clean, invalid, kind_of, number, order_of, same, shown

_ORDERED = ("S", "N", "B")


def at(item: Mapping[Any, Any], path: Path) -> Any:
    """The value at a path, or None."""
    found: Any = item.get(path[0])
    for part in path[1:]:
        if found is None:
            return None
        inner = found.get("M" if isinstance(part, str) else "L")
        if inner is None:
            return None
        found = (inner.get(part) if isinstance(part, str) else dict(enumerate(inner)).get(part)) or None
    return found


def _operand(node: Node, item: Item) -> Any:
    match node:
        case ("path", path):
            return at(item, path)
        case ("value", value):
            return value
        case ("size", path):
            value = at(item, path)
            kind = kind_of(value) if value is not None else ""
            if kind in ("", "N", "BOOL", "NULL"):
                return None
            return {"N": str(len(value[kind].encode() if kind == "S" else value[kind]))}
    raise AssertionError(node)


def holds(node: Node, item: Item) -> bool:
    """Whether a condition holds of an item; {} is one that does not exist. Values of two types are never equal or in order."""
    match node:
        case ("and", left, right):
            return holds(left, item) and holds(right, item)
        case ("or", left, right):
            return holds(left, item) or holds(right, item)
        case ("not", inner):
            return not holds(inner, item)
        case ("between", value, low, high):
            return _compare(">=", _operand(value, item), _operand(low, item)) and _compare(
                "<=", _operand(value, item), _operand(high, item)
            )
        case ("in", value, members):
            return any(same(_operand(value, item), _operand(each, item)) for each in members)
        case ("compare", sign, left, right):
            return _compare(sign, _operand(left, item), _operand(right, item))
        case ("call", name, args):
            return _called(name, [_operand(each, item) for each in args])
    raise AssertionError(node)


def _compare(sign: str, left: Any, right: Any) -> bool:
    if sign == "<>":
        return not same(left, right)
    if left is None or right is None:
        return False
    if sign == "=":
        return same(left, right)
    if kind_of(left) != kind_of(right) or kind_of(left) not in _ORDERED:
        return False
    mine, theirs = order_of(left), order_of(right)
    return bool({"<": mine < theirs, "<=": mine <= theirs, ">": mine > theirs, ">=": mine >= theirs}[sign])


def _called(name: str, args: Sequence[Any]) -> bool:
    first = args[0]
    match name:
        case "attribute_exists":
            return first is not None
        case "attribute_not_exists":
            return first is None
        case "attribute_type":
            return first is not None and kind_of(first) == args[1]["S"]
        case "begins_with":
            kinds = {kind_of(each) for each in args if each is not None}
            return None not in args and kinds in ({"S"}, {"B"}) and order_of(first).startswith(order_of(args[1]))
    return first is not None and args[1] is not None and _contains(first, args[1])


def _contains(whole: Value, part: Value) -> bool:
    kind, other = kind_of(whole), kind_of(part)
    if kind in ("S", "B"):
        return kind == other and part[kind] in whole[kind]
    if kind == "L":
        return any(same(each, part) for each in whole["L"])
    return kind in ("SS", "NS", "BS") and kind[0] == other and any(same({other: each}, part) for each in whole[kind])


# --- updates --------------------------------------------------------------------------------------------------------------


def updated(item: Item, actions: Sequence[Node]) -> Item:
    """The item after the update; every right side sees the item as it was. Raises Refused."""
    after = copy.deepcopy(item)
    removed: list[Path] = []
    for action in actions:
        match action:
            case ("SET", path, tree):
                _put(after, path, clean(_result(tree, item)))
            case ("REMOVE", path):
                removed.append(path)
            case ("ADD", path, value):
                _put(after, path, _added(at(item, path), value))
            case ("DELETE", path, value):
                _without(after, path, at(item, path), value)
    for path in sorted(removed, key=lambda p: [str(part).zfill(9) for part in p], reverse=True):  # of a list: from the end
        _remove(after, path)
    return after


def _result(tree: Node, item: Item) -> Value:
    match tree:
        case ("+" | "-" as sign, left, right):
            one, other = _result(left, item), _result(right, item)
            if kind_of(one) != "N" or kind_of(other) != "N":
                raise invalid("An operand in the update expression has an incorrect data type")
            return {"N": shown(number(one["N"]) + number(other["N"]) * (1 if sign == "+" else -1))}
        case ("if_not_exists", ("path", path), default):
            found = at(item, path)
            return found if found is not None else _result(default, item)
        case ("list_append", left, right):
            one, other = _result(left, item), _result(right, item)
            if kind_of(one) != "L" or kind_of(other) != "L":
                raise invalid("An operand in the update expression has an incorrect data type")
            return {"L": [*one["L"], *other["L"]]}
    found = _operand(tree, item)
    if found is None:
        raise invalid("The provided expression refers to an attribute that does not exist in the item")
    return found  # type: ignore[no-any-return]


def _added(found: Any, value: Value) -> Value:
    kind = kind_of(value)
    if kind not in ("N", "SS", "NS", "BS"):
        raise invalid(f"Incorrect operand type for operator or function; operator: ADD, operand type: {kind}")
    if found is None:
        return clean(value)
    if kind_of(found) != kind:
        raise invalid("An operand in the update expression has an incorrect data type")
    if kind == "N":
        return clean({"N": shown(number(found["N"]) + number(value["N"]))})
    more = clean(value)[kind]
    return {kind: [*found[kind], *(each for each in more if each not in found[kind])]}


def _without(after: Item, path: Path, found: Any, value: Value) -> None:
    kind = kind_of(value)
    if kind not in ("SS", "NS", "BS") or (found is not None and kind_of(found) != kind):
        raise invalid("An operand in the update expression has an incorrect data type")
    if found is None:
        return
    left = [each for each in found[kind] if each not in clean(value)[kind]]
    if left:
        _put(after, path, {kind: left})
    else:
        _remove(after, path)


def _inside(item: Item, path: Path) -> Any:
    """The map or list that a path ends in."""
    if len(path) == 1:
        return item
    value = at(item, path[:-1])
    inner = None if value is None else value.get("M" if isinstance(path[-1], str) else "L")
    if inner is None:
        raise invalid("The document path provided in the update expression is invalid for update")
    return inner


def _put(item: Item, path: Path, value: Value) -> None:
    inner = _inside(item, path)
    if isinstance(inner, list) and path[-1] >= len(inner):  # type: ignore[operator]
        inner.append(value)
    else:
        inner[path[-1]] = value


def _remove(item: Item, path: Path) -> None:
    inner, last = _inside(item, path), path[-1]
    if isinstance(inner, dict):
        inner.pop(last, None)
    elif isinstance(last, int) and last < len(inner):
        del inner[last]


def projected(item: Item, paths: Sequence[Path] | None) -> Item:
    """The parts of an item that are asked for; None = all. Elements of a list move together."""
    if paths is None:
        return dict(item)
    part: Item = {}
    for path in paths:
        if (value := at(item, path)) is not None:
            _grow(part, path, value)
    return part


def _grow(part: Item, path: Path, value: Value) -> None:
    holder: Any = part
    for here, then in pairwise(path):
        fresh: dict[str, Any] = {"M": {}} if isinstance(then, str) else {"L": []}
        if isinstance(holder, list):
            holder.append(fresh)
            inner = fresh
        else:
            inner = holder.setdefault(here, fresh)
        holder = inner["M" if isinstance(then, str) else "L"]
    if isinstance(holder, list):
        holder.append(value)
    else:
        holder[path[-1]] = value
