"""The part of JSON Schema that vendors' OpenAPI files use, so that a contract needs no validator beside it: types, nullable,
enumerations, required and unknown fields, lengths, ranges, patterns, ``$ref``, ``allOf``, ``oneOf`` and ``anyOf``. Formats are
not looked at. Also the nesting of form fields by brackets, ``a[b][]=c``, as a JSON value."""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

DEPTH_MAX: Final = 40  # schemas may name themselves
TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float, Decimal),
    "boolean": (bool,),
    "null": (type(None),),
}


class Schemas:
    """The schemas of one document."""

    def __init__(self, doc: Mapping[str, Any]) -> None:
        self.doc = doc

    def problems(self, schema: Mapping[str, Any], value: Any, *, form: bool = False) -> list[str]:
        """What is wrong with a value: "where: what" each. Every object that names its fields is closed: a field that it does
        not name is a problem, unless ``additionalProperties`` allows it. ``form``: all plain values are texts."""
        return list(self._check(schema, value, "", form, 0))

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Behind ``$ref``, with ``allOf`` put together."""
        for _ in range(DEPTH_MAX):
            if "$ref" not in schema:
                break
            found: Any = self.doc
            for step in str(schema["$ref"]).removeprefix("#/").split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            schema = {**found, **({"nullable": True} if schema.get("nullable") else {})}
        if "allOf" not in schema:
            return schema
        whole: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
        for each in schema["allOf"]:
            part = self.resolved(each)
            names = {**part.get("properties", {}), **whole.get("properties", {})}
            required = [*whole.get("required", ()), *part.get("required", ())]
            whole = {
                **part,
                **whole,
                **({"properties": names} if names else {}),
                **({"required": required} if required else {}),
            }
        return whole

    def _check(self, schema: Mapping[str, Any], value: Any, at: str, form: bool, depth: int) -> Iterator[str]:
        if depth > DEPTH_MAX:
            return
        schema = self.resolved(schema)
        if value is None and _nullable(schema):
            return
        if branches := [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
            found = [list(self._check(each, value, at, form, depth + 1)) for each in branches]
            if all(found):
                yield from min(found, key=lambda said: (_strangeness(said, at), len(said)))
        if form:
            value = _from_text(schema, value)
        wanted = _types(schema)
        if wanted and not any(_is(value, name) for name in wanted):
            yield f"{at}: {_shown(value)} is no {' or '.join(wanted)}"
            return
        yield from _plain(schema, value, at)
        if isinstance(value, dict):
            yield from self._object(schema, value, at, form, depth)
        if isinstance(value, list) and "items" in schema:
            for each in value:
                yield from self._check(schema["items"], each, f"{at}.#", form, depth + 1)

    def _object(self, schema: Mapping[str, Any], value: dict[str, Any], at: str, form: bool, depth: int) -> Iterator[str]:
        names: Mapping[str, Any] = schema.get("properties", {})
        # some demand a field that they do not name, against their own examples
        for name in schema.get("required", ()):
            if name in names and name not in value:
                yield f"{at}.{name}: it is required and missing".removeprefix(".")
        rest = schema.get("additionalProperties", not names and "anyOf" not in schema and "oneOf" not in schema)
        for name, each in value.items():
            here = f"{at}.{name}".removeprefix(".")
            if name in names:
                yield from self._check(names[name], each, here, form, depth + 1)
            elif isinstance(rest, dict):
                yield from self._check(rest, each, here, form, depth + 1)
            elif not rest and (names or "additionalProperties" in schema):
                yield f"{here}: not in the spec"


def nested(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, Any], list[str]]:
    """Form fields as a JSON value of texts, and what is wrong with their names. A list is a dict whose keys are its places;
    a schema says which dicts are lists."""
    root: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in pairs:
        match = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name)
        if match is None:
            problems.append(f"{name}: the brackets of this name do not match")
            continue
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        inside: Any = root
        for key in path[:-1]:
            inside = inside.setdefault(key or str(len(inside)), {})
            if not isinstance(inside, dict):
                break
        last = path[-1] or (str(len(inside)) if isinstance(inside, dict) else "")
        if not isinstance(inside, dict) or last in inside:
            problems.append(f"{name}: it is sent twice")
        else:
            inside[last] = value
    return root, problems


def _from_text(schema: Mapping[str, Any], value: Any) -> Any:
    """A form's text as what the schema wants it to be, where it can be that."""
    wanted = _types(schema)
    if "array" in wanted and isinstance(value, dict) and all(key.isdigit() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    if isinstance(value, str) and "string" not in wanted:
        if {"integer", "number"} & set(wanted) and re.fullmatch(r"-?\d+", value, re.ASCII):
            return int(value)
        if "number" in wanted and re.fullmatch(r"-?\d+\.\d+", value, re.ASCII):
            return Decimal(value)
        if "boolean" in wanted and value in ("true", "false"):
            return value == "true"
    return value


def _types(schema: Mapping[str, Any]) -> list[str]:
    said = schema.get("type", [])
    return [said] if isinstance(said, str) else list(said)


def _nullable(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("nullable")) or None in schema.get("enum", ()) or "null" in _types(schema)


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES.get(name, (object,))) and (name == "boolean" or not isinstance(value, bool))


def _plain(schema: Mapping[str, Any], value: Any, at: str) -> Iterator[str]:
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {_shown(value)} is none of {', '.join(map(str, schema['enum']))[:200]}"
    if isinstance(value, str):
        yield from _limits(schema, "Length", len(value), at, "characters")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{at}: {_shown(value)} does not match {schema['pattern']}"
    if isinstance(value, list):
        yield from _limits(schema, "Items", len(value), at, "items")
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        yield from _limits(schema, "imum", value, at, "")


def _limits(schema: Mapping[str, Any], name: str, size: float | Decimal, at: str, of: str) -> Iterator[str]:
    low, high = schema.get(f"min{name}"), schema.get(f"max{name}")
    if low is not None and size < low:
        yield f"{at}: {size} {of}, at least {low}".replace(" ,", ",")
    if high is not None and size > high:
        yield f"{at}: {size} {of}, at most {high}".replace(" ,", ",")


def _strangeness(said: list[str], at: str) -> int:
    """A branch of another type altogether is a worse explanation than one in which a field is wrong."""
    return sum(each.startswith(f"{at}: ") and " is no " in each for each in said)


def _shown(value: Any) -> str:
    return repr(value)[:60]
