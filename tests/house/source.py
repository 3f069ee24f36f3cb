"""The project's own files, read and parsed: what the house tests look at."""

import ast
import functools
import io
import shutil
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "payonce"
TABLE_LINES_MIN = 3  # a module-level literal of at least this many lines is a table
MADE = {"build", "dist", "__pycache__", "payonce-data"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class File:
    """One Python file; ``name`` is its path from the root, with slashes. Its tree is made when somebody asks for it."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


@functools.cache
def _file(path: Path) -> File:
    return parsed(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))


@functools.cache
def python_files(under: str) -> tuple[File, ...]:
    """Every Python file below a folder of the project, or that one file."""
    top = ROOT / under
    paths = sorted(top.rglob("*.py")) if top.is_dir() else [top]
    return tuple(_file(path) for path in paths)


def parsed(name: str, text: str) -> File:
    return File(name, text)


def tracked_files() -> list[Path]:
    """Every file of the project that is or would be in git; without git, every file that is not made by a tool."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        return [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    paths = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
    return [ROOT / p for p in paths if not any(part in MADE or part.startswith(".") for part in p.parts) or p.parts[0] == ".ci"]


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported; a relative import keeps its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, module if module.endswith(".") else f"{module}.{alias.name}"


def table_lines(tree: ast.Module) -> set[int]:
    """Lines of module-level literals: data that is read as a table, not as code."""
    lines: set[int] = set()
    for node in tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Call) and value.args:
            value = value.args[0]  # frozenset({...}), re.compile("...")
        if isinstance(value, ast.Dict | ast.Tuple | ast.List | ast.Set | ast.Constant | ast.JoinedStr | ast.BinOp):
            span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if len(span) >= TABLE_LINES_MIN:
                lines |= set(span)
    return lines


def docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def code_lines(file: File) -> int:
    """Lines that have to be understood: without blank lines, comments, docstrings, imports and tables."""
    skipped = docstring_lines(file.tree) | table_lines(file.tree)
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type not in quiet:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - skipped)
