"""GET /docs: the OpenAPI document for people. One page without scripts and without any outside host."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Final, NamedTuple

import msgspec

from payonce.core.errors import DECLINES, PROBLEMS, REASONS

from .incoming import Request
from .openapi import Document, codes_of, document, operations
from .problems import Answer

CSP: Final = b"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_CACHED: Final = (b"cache-control", b"no-cache")
_TOLD_ELSEWHERE: Final = "/PaymentBody"  # has a table of its own
_MANY: Final = 12  # a longer enumeration is not printed whole


async def page(request: Request) -> Answer:
    headers = ((b"content-security-policy", CSP), _CACHED)
    return Answer(200, html(request.root).encode(), b"text/html; charset=utf-8", headers)


async def style(_request: Request) -> Answer:
    return Answer(200, stylesheet(), b"text/css; charset=utf-8", (_CACHED,))


@cache
def stylesheet() -> bytes:
    return files("payonce.api").joinpath("style.css").read_bytes()


@cache
def html(root: str = "") -> str:
    """The page; ``root`` is where the application is mounted."""
    doc = document()
    parts = [
        *_head(doc, root),
        "<main id='content'>",
        *_intro(doc, root),
        *(line for path, method, operation in operations() for line in _operation(path, method, operation, doc)),
        *_problems(),
        *_words("declines", "Decline codes", "What <code>lastError.code</code> says a provider said no with.", DECLINES),
        *_words("reasons", "Reasons", "Values of <code>reason</code> and <code>attention</code>.", REASONS),
        "</main>",
        f"<footer><p>payonce {escape(doc['info']['version'])}. This page loads nothing from any other host.</p></footer>",
        "</body></html>",
    ]
    return "\n".join(parts)


def _head(doc: Document, root: str) -> Iterator[str]:
    yield "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>payonce API</title>"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    yield f"<link rel='stylesheet' href='{escape(root)}/docs/style.css'></head><body>"
    yield "<a class='skip' href='#content'>Skip to the content</a>"
    yield f"<header><h1>payonce API</h1><p class='lead'>{escape(doc['info']['summary'])}</p></header>"
    yield "<nav aria-label='On this page'><ul>"
    for path, method, operation in operations():
        yield f"<li><a href='#{_anchor(operation)}'><code>{method.upper()} {escape(path)}</code></a></li>"
    yield "<li><a href='#problems'>Problem codes</a></li><li><a href='#declines'>Decline codes</a></li>"
    yield "<li><a href='#reasons'>Reasons</a></li></ul></nav>"


def _intro(doc: Document, root: str) -> Iterator[str]:
    for paragraph in doc["info"]["description"].split("\n\n"):
        yield f"<p>{_text(paragraph)}</p>"
    yield f"<p>The same for machines: <a href='{escape(root)}/openapi.json'>openapi.json</a> (OpenAPI 3.1).</p>"


def _operation(path: str, method: str, operation: Document, doc: Document) -> Iterator[str]:
    name = _anchor(operation)
    yield f"<section aria-labelledby='{name}'><h2 id='{name}'><span class='method'>{method.upper()}</span>"
    yield f"<code>{escape(path)}</code></h2><p>{_text(operation['summary'])}.</p>"
    if "description" in operation:
        yield f"<p>{_text(operation['description'])}</p>"
    for sample in operation.get("x-codeSamples", ()):
        label = f"curl for {method.upper()} {path}"
        yield f"<div class='scroll' role='region' tabindex='0' aria-label='{escape(label)}'>"
        yield f"<pre><code>{escape(sample['source'])}</code></pre></div>"
    parameters = [
        Field(p["name"], _kind(p["schema"], doc), p["in"], p["required"], p["description"], p.get("example"))
        for p in operation.get("parameters", ())
    ]
    yield from _fields("Parameters", parameters, where="In")
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        yield from _fields(f"Request: {body['description']}", _flat(content["schema"], doc))
        yield from _example("Request", content["example"])
    yield from _responses(operation, doc)
    yield "</section>"


def _responses(operation: Document, doc: Document) -> Iterator[str]:
    rows = []
    for status, response in operation["responses"].items():
        codes = response.get("content", {}).get("application/problem+json")
        said = _text(response["description"])
        if codes:
            named = codes["schema"]["allOf"][1]["properties"]["code"]["enum"]
            said = "<br>".join(f"<a href='#problem-{c}'><code>{c}</code></a> {escape(PROBLEMS[c].title)}" for c in named)
        headers = ", ".join(f"<code>{escape(h)}</code>" for h in response.get("headers", {}))
        rows.append((f"<code>{status}</code>", said, headers))
    yield from _table("Answers", ("Status", "Meaning", "Headers"), rows)
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/json")
        if content and "$ref" in content["schema"]:
            yield from _fields(f"Answer {status}", _flat(content["schema"], doc), required=False)
            yield from _example(f"Answer {status}", content["example"])


def _problems() -> Iterator[str]:
    yield "<section aria-labelledby='problems'><h2 id='problems'>Problem codes</h2>"
    yield "<p>Each says what state the money is in and what to do next; so does <code>payonce explain CODE</code>. "
    yield "To a read it says that nothing was changed.</p>"
    used = {code: [f"{m.upper()} {p}" for p, m, o in operations() if code in codes_of(o)] for code in PROBLEMS}
    rows = []
    for code, p in PROBLEMS.items():
        where = ", ".join(used[code]) if len(used[code]) < len(list(operations())) else "every operation"
        where = where or ("every path" if code == "method_not_allowed" else "the command line")
        cells = (f"<code>{code}</code>", str(p.status), escape(p.title), escape(p.money), _text(p.next), escape(where))
        rows.append(cells)
    yield from _table(
        "Problem codes",
        ("Code", "Status", "What happened", "State of the money", "What to do", "Answered by"),
        rows,
        ids=[f"problem-{code}" for code in PROBLEMS],
    )
    yield "</section>"


def _words(name: str, title: str, intro: str, table: dict[str, str]) -> Iterator[str]:
    yield f"<section aria-labelledby='{name}'><h2 id='{name}'>{escape(title)}</h2><p>{intro}</p>"
    yield from _table(title, ("Code", "Meaning"), [(f"<code>{escape(c)}</code>", _text(says)) for c, says in table.items()])
    yield "</section>"


# --- fields of a schema -----------------------------------------------------------------------------------------------


class Field(NamedTuple):
    """One field or parameter as a row."""

    name: str
    kind: str
    where: str
    required: bool
    description: str
    example: Any


def _flat(schema: Document, doc: Document, prefix: str = "") -> list[Field]:
    """Every field of an object schema, nested ones with dots. A payment inside a list is not told again."""
    found = []
    resolved = _resolve(schema, doc)
    for name, each in resolved.get("properties", {}).items():
        required = name in resolved.get("required", ())
        example = each.get("examples", [None])[0]
        found.append(Field(prefix + name, _kind(each, doc), "", required, each.get("description", ""), example))
        for branch in each.get("anyOf", [each]):
            inner, dots = (branch["items"], "[].") if "items" in branch else (branch, ".")
            if "$ref" in inner and not inner["$ref"].endswith(_TOLD_ELSEWHERE):
                found += _flat(inner, doc, prefix + name + dots)
    return found


def _kind(schema: Document, doc: Document) -> str:
    """A schema in words with its limits."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(branch, doc) for branch in schema["anyOf"]))
    if "$ref" in schema:
        told = " as under GET /payments/{id}" if schema["$ref"].endswith(_TOLD_ELSEWHERE) else ""
        return _kind(_resolve(schema, doc), doc) + told
    if "enum" in schema or "const" in schema:
        values = [str(v) for v in schema.get("enum", [schema.get("const")]) if v is not None]
        shown = values if len(values) <= _MANY else [*values[:3], f"... ({len(values)} values)"]
        return "one of " + ", ".join(shown) if len(values) > 1 else str(values[0])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {_kind(schema['items'], doc)}"
    return kind + "".join(_limits(schema))


def _limits(schema: Document) -> Iterator[str]:
    if "format" in schema:
        yield f" ({schema['format']})"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None or high is not None:
        yield f", {low} to {high}" if high is not None else f", at least {low}"
    least, most = schema.get("minLength"), schema.get("maxLength")
    if most is not None:
        yield f", {least} to {most} characters" if least else f", up to {most} characters"
    if "maxProperties" in schema:
        yield f", up to {schema['maxProperties']} names"


def _resolve(schema: Document, doc: Document) -> Document:
    if "$ref" not in schema:
        return schema
    found: Document = doc["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


# --- HTML -------------------------------------------------------------------------------------------------------------


def _fields(caption: str, fields: Sequence[Field], *, where: str = "", required: bool = True) -> Iterator[str]:
    if not fields:
        return
    head = ["Name", *([where] if where else []), "Type and limits", *(["Needed"] if required else []), "Meaning", "Example"]
    rows = []
    for f in fields:
        row = [f"<code>{escape(f.name)}</code>", *([escape(f.where)] if where else []), escape(f.kind)]
        row += ["yes" if f.required else "no"] if required else []
        example = "" if f.example is None else f"<code>{escape(_json(f.example))}</code>"
        rows.append([*row, _text(f.description), example])
    yield from _table(caption, head, rows)


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], ids: Sequence[str] = ()) -> Iterator[str]:
    """A real table. On a phone each row becomes a block: the roles keep it a table for screen readers then too.
    Cells are HTML already."""
    yield f"<div class='scroll'><table class='stack' role='table'><caption>{escape(caption)}</caption>"
    columns = "".join(f"<th scope='col' role='columnheader'>{escape(name)}</th>" for name in head)
    yield f"<thead role='rowgroup'><tr role='row'>{columns}</tr></thead><tbody role='rowgroup'>"
    for n, (first, *others) in enumerate(rows):
        anchor = f" id='{ids[n]}'" if ids else ""
        cells = zip(head[1:], others, strict=True)
        told = "".join(f"<td role='cell' data-label='{escape(name)}'>{cell}</td>" for name, cell in cells)
        yield f"<tr role='row'{anchor}><th scope='row' role='rowheader'>{first}</th>{told}</tr>"
    yield "</tbody></table></div>"


def _example(label: str, value: Document) -> Iterator[str]:
    pretty = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    yield f"<div class='scroll' role='region' tabindex='0' aria-label='{escape(label)}, example'>"
    yield f"<pre><code>{escape(pretty)}</code></pre></div>"


def _text(markdown: str) -> str:
    """Escaped, with `code` set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(markdown))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _anchor(operation: Document) -> str:
    return escape(str(operation["operationId"]))
