"""What can drift is generated or tested: the reference pages, the links, and every command and setting that a page names."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
from msgspec import json
from tools.docs import BASE_URLS, FACTS, PAGES, PROVIDER_KEYS_SAY, REFERENCE, built_in, drift

from payonce.adapter import Intent, Terms
from payonce.cli import COMMANDS
from payonce.config import PROVIDER_KEYS, SETTINGS, load
from payonce.core.errors import DECLINES, PROBLEMS, REASONS
from payonce.core.idempotency import normalise
from payonce.core.states import TRANSITIONS
from payonce.sandbox.faults import TOKENS

from .fenced import INSTEAD, MADE, TYPED, fenced, missing, unused
from .source import ROOT, functions, parsed, python_files, tracked_files

PAGES_ALL = tuple(sorted(p for p in tracked_files() if p.suffix == ".md"))
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
IDS = [p.relative_to(ROOT).as_posix() for p in PAGES_ALL]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def dead_links(page: Path, text: str) -> Iterator[str]:
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            yield f"{page.name}: {target}"
        elif anchor and path.suffix == ".md":
            there = text if path == page else path.read_text(encoding="utf-8")
            if anchor not in anchors(there):
                yield f"{page.name}: {target}"


def blocks(text: str, language: str = r"\w*") -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block for its, block in found if re.fullmatch(language, its)]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(program, first word) of each make or payonce command line that a page shows, in blocks or in backticks."""
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    shown = "\n".join([*blocks(text, "(?:sh|console|bash)?"), *inline])
    yield from re.findall(r"^(?:\$ |\.venv/bin/)?(make|payonce) +([a-z][a-z-]+)\b(?![=.\w])", shown, re.MULTILINE)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_reference_is_what_the_code_says() -> None:
    """docs/reference equals what `make docs` would write now."""
    assert drift() == []


def test_drift_is_seen(tmp_path: Path) -> None:
    """A page that is missing or differs in one word is reported."""
    for name in PAGES:
        (tmp_path / name).write_text((REFERENCE / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert drift(tmp_path) == []
    states = tmp_path / "states.md"
    states.write_text(states.read_text(encoding="utf-8").replace("durably", "quickly"), encoding="utf-8")
    assert any("durably" in line for line in drift(tmp_path))
    states.unlink()
    assert drift(tmp_path) != []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("settings.md", [s.key for s in SETTINGS] + [e for s in SETTINGS for e in s.env] + list(PROVIDER_KEYS)),
        ("errors.md", [*PROBLEMS, *DECLINES, *REASONS]),
        ("sandbox.md", list(TOKENS)),
    ],
    ids=["settings", "codes", "tokens"],
)
def test_the_reference_names_everything(page: str, names: list[str]) -> None:
    """Every setting, environment name, code and token stands in its page."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_state_diagram_shows_every_transition() -> None:
    """Each row of the table is an arrow of the drawing, with its event."""
    (drawn,) = blocks((REFERENCE / "states.md").read_text(encoding="utf-8"), "mermaid")
    for t in TRANSITIONS:
        arrow = next(line for line in drawn.splitlines() if f" {t.before or '[*]'} --> {t.after}:" in line)
        assert t.event in arrow


def test_every_provider_key_is_explained() -> None:
    """The settings page explains the keys of a provider account that exist, and no others."""
    assert set(PROVIDER_KEYS_SAY) == set(PROVIDER_KEYS)


@pytest.mark.parametrize("page", PAGES_ALL, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file, and its anchor to a heading."""
    assert list(dead_links(page, page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("page", PAGES_ALL, ids=IDS)
def test_pictures_are_there(page: Path) -> None:
    """Every picture of a page is in the repository, in light and in dark, and says in words what it shows."""
    text = page.read_text(encoding="utf-8")
    pictures = [*re.findall(r'\bsrc(?:set)?="([^"]+)"', text), *re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text)]
    assert [name for name in pictures if not (page.parent / name).exists()] == []
    assert [name for name in pictures if "-light." in name and name.replace("-light.", "-dark.") not in pictures] == []
    assert [tag for tag in re.findall(r"<img [^>]*>", text) if not re.search(r'alt="[^"]{20,}"', tag)] == []


@pytest.mark.parametrize("page", PAGES_ALL, ids=IDS)
def test_commands_exist(page: Path) -> None:
    """Every `make` target and `payonce` command that a page shows exists."""
    known = {("make", t) for t in make_targets()} | {("payonce", c.name) for c in COMMANDS}
    assert set(commands(page.read_text(encoding="utf-8"))) - known == set()


@pytest.mark.parametrize("page", PAGES_ALL, ids=IDS)
def test_named_files_exist(page: Path) -> None:
    """Every file of ours that a page names in backticks is there."""
    named = re.findall(r"`((?:src|tests|docs|examples|tools|\.ci)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES_ALL, ids=IDS)
def test_shown_configuration_is_accepted(page: Path, tmp_path: Path) -> None:
    """Every payonce.toml that a page shows is one that payonce accepts."""
    for number, shown in enumerate(blocks(page.read_text(encoding="utf-8"), "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(shown, encoding="utf-8")
        assert load(file=file).file == str(file)


GUIDE = ROOT / "docs" / "adding-a-provider.md"
EXAMPLE = ROOT / "examples" / "wrenmoor"
SHOWN_FILE = re.compile(r"^<!-- (file|part): (\S+) -->\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


def followed(page: str) -> dict[str, str]:
    """The files that somebody has who does what the page says: whole ones, and those shown in parts."""
    files: dict[str, str] = {}
    for kind, name, text in SHOWN_FILE.findall(page):
        assert kind == "part" or name not in files, f"{name} is shown twice"
        files[name] = f"{files[name]}\n{text}" if name in files else text
    return files


def lines_of(text: str) -> list[str]:
    """Without blank lines: between two parts of a file there may be other ones."""
    return [line for line in text.splitlines() if line.strip()]


def test_following_the_guide_gives_the_example() -> None:
    """Each file that the page on adding a provider shows is the example's, from its first line to its last; what it does
    not show is recorded cases only."""
    files = followed(GUIDE.read_text(encoding="utf-8"))
    differ = [n for n, text in files.items() if lines_of(text) != lines_of((EXAMPLE / n).read_text(encoding="utf-8"))]
    assert differ == []
    ours = {p.relative_to(EXAMPLE).as_posix() for p in tracked_files() if p.is_relative_to(EXAMPLE)}
    assert {name for name in ours - set(files) if not re.fullmatch(r"fixtures/\w+\.json", name)} == set()


def test_the_guide_shows_no_other_code() -> None:
    """Every block of the page in a language of files is marked with the file that it is of, so that none can drift."""
    page = GUIDE.read_text(encoding="utf-8")
    marked = [text for _, _, text in SHOWN_FILE.findall(page)]
    assert [b for b in blocks(page, "(?:py|python|toml|json|text)") if b not in marked] == []


def test_a_drifted_example_is_seen() -> None:
    """A line that is left out of a part, or changed, makes the files differ."""
    page = "<!-- part: a.py -->\n```py\none\n```\nand\n<!-- part: a.py -->\n```py\n\ntwo\n```\n"
    assert lines_of(followed(page)["a.py"]) == lines_of("one\n\n\ntwo\n")
    assert lines_of(followed(page.replace("two", "too"))["a.py"]) != lines_of("one\n\n\ntwo\n")


def test_the_guide_names_every_term() -> None:
    """The page on adding a provider says something about each field of Terms and each reference of Intent."""
    page = GUIDE.read_text(encoding="utf-8")
    asked = {"reference", "refund_reference", "key", "container", "seen"}
    assert asked <= set(Intent.__struct_fields__)
    named = [f for f in Terms.__struct_fields__ if f"`{f}`" not in page]
    assert named + [f for f in sorted(asked) if f"`intent.{f}`" not in page] == []


def test_the_providers_page_shows_the_built_in_ones() -> None:
    """Every adapter of ours, and no other that is installed here, has a column, a section, its words and its terms."""
    page = (REFERENCE / "providers.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(built_in())
    shown = {p.stem for p in (ROOT / "src/payonce/providers").iterdir() if p.stem not in ("__init__", "__pycache__")}
    assert set(built_in()) == shown
    for adapter in built_in().values():
        section = page[page.index(f"## {adapter.name}") :].split("\n## ")[0]
        assert [word for word in (*adapter.DECLINES, *adapter.STATUSES) if f"`{word}`" not in section] == []
        assert "Unverified" in section
        if adapter.name in BASE_URLS:
            assert [key for key in adapter.SANDBOX_CREDENTIALS if f'{key} = "env:' not in section] == []
    assert all(f"| {fact} |" in page for fact in FACTS)


def test_shown_variables_exist() -> None:
    """Every PAYONCE_ variable that a page names is a setting."""
    known = {"PAYONCE_CONFIG", "PAYONCE_VENDOR_SPECS", "PAYONCE_API_KEY"} | {name for s in SETTINGS for name in s.env}
    for page in PAGES_ALL:
        named = set(re.findall(r"\bPAYONCE_[A-Z_]+\b", page.read_text(encoding="utf-8")))
        assert {n for n in named - known if not n.startswith("PAYONCE_SECRET_")} == set(), page.name


def test_shown_requests_are_good() -> None:
    """The payments that the README and the tutorial post are ones that payonce takes, with a token that exists."""
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in FOLLOWED]
    bodies = [body for page in pages for body in re.findall(r"-d '(\{[^']*paymentMethod[^']*\})'", page)]
    assert bodies
    requests = [normalise(json.decode(body.encode())) for body in bodies]
    assert {r.details.payment_method for r in requests} <= set(TOKENS)


FOLLOWED = ("README.md", "docs/tutorial.md")


@pytest.mark.parametrize("page", FOLLOWED)
def test_every_block_is_used(page: str) -> None:
    """Each block of the two pages that people follow is typed, run, loaded or compared by a test, and the tests that the
    table of exceptions names are there."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert list(unused(text)) == []
    assert sum(block.language in TYPED for block in fenced(text)) >= 9
    assert list(missing_tests(" ".join(f"`{name}`" for name in MADE.values()))) == []


@pytest.mark.parametrize("page", FOLLOWED)
def test_exceptions_stand_on_the_page(page: str) -> None:
    """Whatever is typed in another form than it is shown is still shown, and has a reason."""
    shown = [
        line.split("  #")[0].rstrip() for b in fenced((ROOT / page).read_text(encoding="utf-8")) for line in b.text.splitlines()
    ]
    assert [line for line in INSTEAD[page] if line not in shown] == []
    assert all(why for _, why in INSTEAD[page].values())


@pytest.mark.parametrize("page", FOLLOWED)
def test_shown_objects_are_the_apis(page: str) -> None:
    """Each JSON that a page shows is a whole object of the API, by its description."""
    whole = json.decode((REFERENCE / "openapi.json").read_bytes())
    for block in fenced((ROOT / page).read_text(encoding="utf-8")):
        if block.language == "json":
            schema = {**whole, "$ref": f"#/components/schemas/{block.of}"}
            jsonschema_rs.Draft202012Validator(schema).validate(json.decode(block.text.encode()))
            assert set(json.decode(block.text.encode())) == set(whole["components"]["schemas"][block.of]["properties"])


def test_a_block_without_a_use_is_seen() -> None:
    """Other languages, output of nothing, objects without a name and lines that were not printed are found."""
    page = "```text\nsays\n```\n```yaml\na: 1\n```\n```json\n{}\n```\n```sh\nls\n```\n```text\nsays\n```\n```\nx\n```\n"
    assert list(unused(page)) == ["text: says", "yaml: a: 1", "json: {}", "no language: x"]
    printed = "pay_06h1f6v73y45e1j390vf  10.50 INR\n +12 ms  took it\n"
    assert missing("pay_16h1f6v73y45e1j390vf 2.00 INR\n...\n+9.1 s took it\n", printed) == []
    assert missing("took it\n10.50 INR\n", printed) == ["0 INR"]
    assert missing("10.51 INR\n", printed, exactly=True) == ["10.51 INR"]


def test_the_versions_agree() -> None:
    """The version in pyproject.toml, in the package and at the top of the changelog is one."""
    import payonce

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == payonce.__version__ == newest.group(1)


def test_the_libraries_are_those_of_the_lock() -> None:
    """The table of libraries has each direct dependency and no other, with the version and the date of uv.lock."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("\n## Libraries\n")[1]
    shown = {
        name: (version, date) for name, version, date in re.findall(r"^\| (\S+) \| (\S+) \| (\d{4}-\S+) \|", text, re.MULTILINE)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {re.split(r"[<>=~!\[; ]", each)[0] for each in project["dependencies"]}
    locked = {p["name"]: p for p in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]}
    assert shown == {name: (locked[name]["version"], str(locked[name]["sdist"]["upload-time"])[:10]) for name in direct}


def test_a_dead_link_is_seen() -> None:
    """Missing files and missing headings are found; addresses of other places are left alone."""
    page = ROOT / "README.md"
    assert list(dead_links(page, "# A b\n[x](nowhere.md) [y](#a-c) [z](https://pypi.org) [ok](#a-b) [ok](Makefile)")) == [
        "README.md: nowhere.md",
        "README.md: #a-c",
    ]


def test_a_wrong_command_is_seen() -> None:
    """Commands are found in blocks and in backticks, and prose about payonce is not taken for one."""
    text = "payonce settles. `payonce frobnicate x`\n```sh\nmake dance\n.venv/bin/payonce show pay_1\n```\n"
    assert sorted(commands(text)) == [("make", "dance"), ("payonce", "frobnicate"), ("payonce", "show")]


# --- what is promised, and what shows it -----------------------------------------------------------------------------

GUARANTEES = ROOT / "docs" / "guarantees.md"
NAMED_TEST = re.compile(r"`((?:tests|src/payonce/testing)/[\w/]+\.py)::(\w+)`")


def missing_tests(text: str) -> Iterator[str]:
    """Tests that a page names and that are not there, by name, in the file that it says."""
    for name, test in NAMED_TEST.findall(text):
        path = ROOT / name
        there = {f.name for f in functions(parsed(name, path.read_text(encoding="utf-8")).tree)} if path.exists() else set()
        if test not in there or not test.startswith("test_"):
            yield f"{name}::{test}"


def promises(text: str) -> dict[str, str]:
    """What is said under each promise of the page, by its heading."""
    part = text.split("\n## Promises\n")[1].split("\n## ", maxsplit=1)[0]
    title, *each = re.split(r"^### (.+)\n", part, flags=re.MULTILINE)
    assert not title.strip(), "words before the first promise"
    return dict(zip(each[::2], each[1::2], strict=True))


def test_the_tests_of_the_guarantees_exist() -> None:
    """Every test that the page on guarantees names is there, and it names no half of one."""
    text = GUARANTEES.read_text(encoding="utf-8")
    assert list(missing_tests(text)) == []
    assert len(NAMED_TEST.findall(text)) == text.count("::") > 50


def test_every_promise_is_shown_by_a_test() -> None:
    """Each promise says its limit and names a test, and no rule of the design is without its promise."""
    said = promises(GUARANTEES.read_text(encoding="utf-8"))
    assert [title for title, text in said.items() if not NAMED_TEST.search(text) or "*Limit:*" not in text] == []
    assert [title.split(".")[0] for title in said if re.match(r"R\d", title)] == [f"R{n}" for n in range(1, 13)]


def test_the_invariants_are_explained() -> None:
    """I1 to I15 stand in the page, and a broken rule of the simulation names one of them."""
    text = GUARANTEES.read_text(encoding="utf-8")
    assert re.findall(r"^\| (I\d+) \|", text, re.MULTILINE) == [f"I{n}" for n in range(1, 16)]
    used = {n for f in python_files("src/payonce/testing") for n in re.findall(r"\"(I\d+): ", f.text)}
    assert {"I1", "I7"} <= used <= {f"I{n}" for n in range(1, 16)}


def test_a_promise_without_its_test_is_seen() -> None:
    """A test or file that is gone, a function that is no test, and a promise that names none are found."""
    here = "tests/house/test_docs.py"
    text = f"`{here}::test_a_dead_link_is_seen` `{here}::test_gone` `{here}::anchors` `tests/test_gone.py::test_x`"
    assert list(missing_tests(text)) == [f"{here}::test_gone", f"{here}::anchors", "tests/test_gone.py::test_x"]
    said = promises("# x\n## Promises\n\n### A\n\nabc\n\n### B\n\n`tests/a.py::test_x`\n\n## Limits\n### C\n")
    assert [title for title, words in said.items() if not NAMED_TEST.search(words)] == ["A"]
