"""README's table of the modules: complete, and each imports only from those below it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "mofa_jax").rglob("*.py")]


def rows_by_place() -> dict[str, int]:
    """The row, counted from the top, of each file and folder that the table names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The code")[2]
    places = {}
    for row, cell in enumerate(re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)):
        folder = ""
        for name in re.findall(r"`(.*?)`", cell):
            place = name if name.startswith("mofa_jax/") else folder + name
            folder = place.rstrip("/").rpartition("/")[0] + "/"
            places[place.lstrip("/")] = row
    return places


def row_of(module: str, places: dict[str, int]) -> int | None:
    """That of a module, or of the folder that holds it."""
    parts = module.split("/")
    folders = ("/".join(parts[:k]) + "/" for k in range(len(parts) - 1, 1, -1))
    return next((places[name] for name in (module, *folders) if name in places), None)


def imported(module: str) -> set[str]:
    """The modules of the package that one imports, at its top or inside."""
    nodes = [*ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8")))]
    froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level]
    names = {node.module for node in froms}
    names |= {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
    paths = {name.replace(".", "/") for name in names if name.startswith("mofa_jax.")}
    return {path + end for path in paths for end in (".py", "/__init__.py")} & set(MODULES)


def test_every_module_has_its_row():
    places = rows_by_place()
    without = {module for module in MODULES if row_of(module, places) is None}
    assert without == {"mofa_jax/__init__.py", "mofa_jax/data/__init__.py"}
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_modules_import_from_those_below_alone():
    places = rows_by_place()
    rows = {module: row_of(module, places) for module in MODULES}
    upwards = {
        f"{module} imports {other}"
        for module in MODULES
        for other in imported(module)
        if rows[module] is not None and rows[other] is not None and rows[other] < rows[module]
    }
    assert not upwards
