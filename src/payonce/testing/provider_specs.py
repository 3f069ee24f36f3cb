"""The part of the provider contract that holds an adapter against what its vendor published: every built request, and every
good recorded answer.

A subject names the description (``VendorSpec``) and where such descriptions lie; the environment variable of SPECS_FOLDER
names another folder. Without a folder, or without the file, the tests are skipped and say so. Two kinds are understood:

- ``openapi``: an OpenAPI 3 file, JSON or YAML: path, method, headers, query, form and JSON bodies, answers by status;
- ``samples``: a folder of JSON answers, each object naming its kind in ``entity``: fields and their types in our answers.

What differs on purpose is listed in the VendorSpec, each with a reason; a line that is not needed any more is a failure.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qsl

import msgspec
import pytest
from msgspec import Struct

from payonce.adapter import HttpRequest, Response

from .schema_check import Schemas, nested

if TYPE_CHECKING:
    from .provider_cases import Subject

SPECS_FOLDER: Final = "PAYONCE_VENDOR_SPECS"
LATER: Final = ("authorization", "x-client-id", "x-client-secret", "x-api-key")  # headers that authenticate adds
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
KINDS: Final[Mapping[type, str]] = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}


class Newer(Struct, frozen=True, kw_only=True):
    """What an older description lacks: ``at`` is a JSON pointer into it (``/-`` at the end appends to a list), ``schema``
    what stands there now, ``why`` says where that is documented."""

    at: str
    schema: Any
    why: str


class VendorSpec(Struct, frozen=True, kw_only=True):
    """A vendor's own description of its API. A problem is a line ``METHOD /path request|answer field: what``, with ``#``
    for the items of a list; ``allowed`` has patterns of such lines (``*`` is anything), each with its reason."""

    kind: Literal["openapi", "samples"]
    file: str  # below the folder of specs; of samples a folder
    prefix: str = ""  # what the adapter's paths have before the spec's
    newer: tuple[Newer, ...] = ()
    allowed: Mapping[str, str] = {}  # pattern of a problem -> why it is none
    unchecked: Mapping[str, str] = {}  # name of a case -> why its answers are not looked at
    webhook: str = ""  # the schema of a webhook's body, by its name in the components
    null_is_absent: bool = False  # the vendor writes null where its spec leaves a field out


class Description(Struct, frozen=True):
    """A loaded description."""

    spec: VendorSpec
    doc: Mapping[str, Any]

    def of_request(self, request: HttpRequest) -> list[str]:
        """What is wrong with a request that we build."""
        if self.spec.kind == "samples":
            return []  # samples are answers
        template, operation = self._operation(request)
        if operation is None:
            return [f"{request.method} {request.path.partition('?')[0]} request: not in the spec"]
        found = [*self._parameters(operation, request), *self._body(operation, request)]
        return [f"{request.method} {template} request {each}" for each in found]

    def of_answer(self, request: HttpRequest, response: Response) -> list[str]:
        """What is wrong with a good answer to it. Refusals and failures are not looked at."""
        value = _value(response.body, drop_null=self.spec.null_is_absent)
        if not 200 <= response.status < 300 or value is None:
            return []
        if self.spec.kind == "samples":
            return [f"answer {each}" for each in _beside_samples(self.doc, value)]
        template, operation = self._operation(request)
        if operation is None:
            return []  # said of the request
        schemas, named = Schemas(self.doc), operation["responses"]
        told = named.get(str(response.status), named.get("2XX"))
        if told is None:
            return [f"{request.method} {template} answer: the spec has no status {response.status}"]
        schema = schemas.resolved(told).get("content", {}).get(JSON, {}).get("schema", {})
        return [f"{request.method} {template} answer {each}" for each in schemas.problems(schema, value)]

    def of_webhook(self, body: bytes) -> list[str]:
        """What is wrong with a webhook that was taken for genuine."""
        value = _value(body, drop_null=self.spec.null_is_absent)
        if self.spec.kind == "samples":
            return list(_beside_samples(self.doc, value))
        if not self.spec.webhook:
            return []
        return Schemas(self.doc).problems(self.doc["components"]["schemas"][self.spec.webhook], value)

    def _operation(self, request: HttpRequest) -> tuple[str, Mapping[str, Any] | None]:
        """What the spec says of a request line. The fixed path wins over one with a parameter."""
        path = request.path.partition("?")[0].removeprefix(self.spec.prefix)
        for template, methods in sorted(self.doc["paths"].items(), key=lambda item: item[0].count("{")):
            pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path) and request.method.lower() in methods:
                shared = methods.get("parameters", [])
                operation = dict(methods[request.method.lower()])
                return template, {**operation, "parameters": [*shared, *operation.get("parameters", [])]}
        return path, None

    def _parameters(self, operation: Mapping[str, Any], request: HttpRequest) -> Iterator[str]:
        schemas = Schemas(self.doc)
        known = [schemas.resolved(each) for each in operation["parameters"]]
        headers = {name.lower(): value for name, value in request.headers}
        ours = {p["name"].lower(): p for p in known if p["in"] == "header"}
        for name, p in ours.items():
            if name not in headers and p.get("required") and name not in LATER:
                yield f"header {name}: it is required and missing"
            if name in headers:
                yield from (f"header {name}{each}" for each in schemas.problems(p.get("schema", {}), headers[name], form=True))
        # a spec that describes no header leaves them to its text
        yield from (f"header {name}: not in the spec" for name in headers if ours and name not in (*ours, "content-type"))
        query, problems = nested(parse_qsl(request.path.partition("?")[2], keep_blank_values=True))
        yield from (f"query {each}" for each in problems)
        asked = {p["name"]: p for p in known if p["in"] == "query"}
        schema = {
            "properties": {name: p.get("schema", {}) for name, p in asked.items()},
            "required": [name for name, p in asked.items() if p.get("required")],
            "additionalProperties": False,
        }
        yield from (f"query {each}" for each in schemas.problems(schema, query, form=True))

    def _body(self, operation: Mapping[str, Any], request: HttpRequest) -> Iterator[str]:
        schemas = Schemas(self.doc)
        wanted = schemas.resolved(operation.get("requestBody", {}))
        if not wanted or (not request.body and not wanted.get("required")):
            yield from ["a body where there is none"] * bool(request.body)
            return
        content = dict(request.headers).get("content-type", "").partition(";")[0]
        if content not in wanted["content"]:
            yield f"content-type: {content!r} is none of {', '.join(wanted['content'])}"
            return
        schema = wanted["content"][content].get("schema", {})
        if content == FORM:
            pairs = parse_qsl(request.body.decode(), keep_blank_values=True, strict_parsing=bool(request.body))
            value, problems = nested(pairs)
            yield from problems
            yield from schemas.problems(schema, value, form=True)
        elif (value := _value(request.body)) is None:
            yield "body: not JSON"
        else:
            yield from schemas.problems(schema, value)


def described(subject: "Subject") -> Description:
    """The vendor's description of a subject. Skips the test where there is none, and says why."""
    spec = subject.spec
    if spec is None:
        pytest.skip("the subject names no description of its vendor")
    named = os.environ.get(SPECS_FOLDER)
    folder = Path(named) if named else subject.specs
    if folder is None or not folder.is_dir():
        pytest.skip(f"there is no folder with vendors' descriptions: name one in {SPECS_FOLDER}")
    if not (folder / spec.file).exists():
        pytest.skip(f"{folder} has no {spec.file}")
    if spec.kind == "samples":
        return Description(spec, _samples(folder / spec.file))
    doc = _openapi(folder / spec.file)
    for newer in spec.newer:
        doc = _put(doc, newer.at.removeprefix("/").split("/"), newer)
    return Description(spec, doc)


class SpecContract:
    """See the module docstring."""

    def test_requests_are_in_the_vendors_description(self, subject: "Subject") -> None:
        """Path, method, headers, query, required and unknown fields, types and enumerations of everything that is built."""
        description = described(subject)
        _none(
            _refused(
                description, ((name, p) for name, request, _ in _exchanges(subject) for p in description.of_request(request))
            )
        )

    def test_good_answers_are_in_the_vendors_description(self, subject: "Subject") -> None:
        """What the cases record as good answers could come from the vendor."""
        description = described(subject)
        _none(_refused(description, _of_answers(subject, description)))

    def test_exceptions_from_the_description_are_needed(self, subject: "Subject") -> None:
        """Each difference that is listed with a reason is there, and each case that is not looked at would show one."""
        description = described(subject)
        lines = [p for _, request, _ in _exchanges(subject) for p in description.of_request(request)]
        lines += [line for _, line in _of_answers(subject, description)]
        _none(f"{pattern}: nothing differs like this" for pattern in description.spec.allowed if not _like(lines, pattern))
        everything = Description(msgspec.structs.replace(description.spec, unchecked={}), description.doc)
        found = {name for name, line in _of_answers(subject, everything) if not _allowed(description, line)}
        _none(f"{name}: nothing is wrong with its answers" for name in description.spec.unchecked if name not in found)


def _exchanges(subject: "Subject") -> Iterator[tuple[str, HttpRequest, Response]]:
    for case in subject.cases:
        requests = [subject.adapter.build(case.intent), *(each.request.wanted() for each in case.more)]
        for request, answer in zip(requests, case.answers(), strict=True):
            yield case.name, request, answer
    for listing in subject.listings:
        yield listing.name, subject.able("build_listing")(listing.listing), listing.response.answer()


def _of_answers(subject: "Subject", description: Description) -> Iterator[tuple[str, str]]:
    for name, request, answer in _exchanges(subject):
        if name not in description.spec.unchecked:
            yield from ((name, line) for line in description.of_answer(request, answer))
    for webhook in subject.webhooks:
        if webhook.event is not None and webhook.name not in description.spec.unchecked:
            yield from ((webhook.name, f"webhook {line}") for line in description.of_webhook(webhook.webhook.content()))


def _refused(description: Description, lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Problems that no line of the VendorSpec allows, the same one once."""
    seen: dict[str, str] = {}
    for name, line in lines:
        if not _allowed(description, line):
            seen.setdefault(line, name)
    return (f"{name}: {line}" for line, name in seen.items())


def _allowed(description: Description, line: str) -> bool:
    return any(_like([line], pattern) for pattern in description.spec.allowed)


def _like(lines: list[str], pattern: str) -> bool:
    return any(fnmatchcase(line, pattern.replace("[", "[[]")) for line in lines)


def _beside_samples(samples: Mapping[str, Any], value: Any) -> Iterator[str]:
    """Fields of an entity that no sample has, or has with another type."""
    entity = value.get("entity") if isinstance(value, dict) else None
    if isinstance(entity, str) and entity in samples:
        known = samples[entity]
        for name, each in value.items():
            if name not in known:
                yield f"{entity}.{name}: in no sample of the vendor"
            elif each is not None and known[name] and KINDS[type(each)] not in known[name]:
                yield f"{entity}.{name}: {each!r:.40} is no {' or '.join(sorted(known[name]))}"
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _beside_samples(samples, each)


def _value(body: bytes, *, drop_null: bool = False) -> Any:
    """The JSON value of a body; None when it is none."""
    try:
        doc = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _without_null(doc) if drop_null else doc


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    return [_without_null(v) for v in value] if isinstance(value, list) else value


def _put(doc: Any, pointer: list[str], newer: Newer) -> Any:
    """A copy with something more in it. Fails when it is there already: the description was renewed."""
    step, *rest = (pointer[0].replace("~1", "/").replace("~0", "~"), *pointer[1:])
    if isinstance(doc, list):
        assert newer.schema not in doc, f"{newer.at}: the description has it, so this line can go"
        return [*doc, newer.schema]
    if not rest:
        assert step not in doc, f"{newer.at}: the description has it, so this line can go"
        return {**doc, step: newer.schema}
    return {**doc, step: _put(doc[step], rest, newer)}


@cache
def _openapi(file: Path) -> Mapping[str, Any]:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        return dict(msgspec.json.decode(text))
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        pytest.skip(f"{file.name} is YAML, and PyYAML is not installed")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(text, Loader=loader))


@cache
def _samples(folder: Path) -> Mapping[str, Mapping[str, frozenset[str]]]:
    """entity -> field -> the kinds of value that it has in the vendor's samples; of null nothing is learned."""
    found: dict[str, dict[str, set[str]]] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict) and isinstance(value.get("entity"), str):
            fields = found.setdefault(value["entity"], {})
            for name, each in value.items():
                kinds = fields.setdefault(name, set())
                kinds |= {KINDS[type(each)]} if each is not None else set()
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(each)

    for file in sorted(folder.glob("*.json")):
        look(msgspec.json.decode(file.read_bytes()))
    return {entity: {name: frozenset(kinds) for name, kinds in fields.items()} for entity, fields in found.items()}


def _none(problems: Iterable[str]) -> None:
    found = list(problems)
    assert not found, "\n".join(found)
