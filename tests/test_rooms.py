"""The layout holds: data flows one way, nothing imports in a circle, and the README says what is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((SOURCE / "arttune").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that `path` imports when it is itself imported (not inside functions)."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{a.name}" for a in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
    return names & known


GRAPH = {name: imports(path, set(modules())) - {name} for name, path in modules().items()}


def test_nothing_imports_in_a_circle():
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for other in GRAPH[name]:
                # A package's own files are imported by its __init__, and find it half-loaded: that is Python's way.
                if not name.startswith(f"{other}."):
                    visit(other, (*trail, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


def test_canvas_and_families_import_no_other_room_and_nothing_imports_cli():
    allowed = {"arttune.errors", "arttune._version"}
    assert GRAPH["arttune.canvas"] <= allowed
    for name, used in GRAPH.items():
        if name.startswith("arttune.families"):
            assert all(u in allowed or u.startswith("arttune.families") for u in used), name
        if not name.startswith("arttune.cli"):
            assert not any(u.startswith("arttune.cli") for u in used), name


def test_every_file_opens_with_what_it_is_and_stays_a_room():
    for name, path in modules().items():
        assert ast.get_docstring(ast.parse(path.read_text())) or name.endswith("_version"), name
        assert len(path.read_text().splitlines()) <= 330, name


def test_the_readme_opens_with_the_two_commands():
    text = (ROOT / "README.md").read_text()
    first = re.search(r"```bash\n(.*?)```", text, re.S).group(1)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
)
def test_pages_link_to_what_is_there(page):
    text = (ROOT / page).read_text()
    for link in [*re.findall(r"\]\((?!http)([^)#]+)[)#]", text), *re.findall(r'src="(?!http)([^"]+)"', text)]:
        assert ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize("page", ["README.md", "docs/servers.md", "docs/gallery/README.md"])
def test_commands_in_the_docs_exist(page):
    from typer.main import get_command

    from arttune.cli import app

    known = get_command(app).commands
    lines = re.findall(r"^arttune (.*)$", (ROOT / page).read_text(), re.M)
    assert lines
    for line in lines:
        words = line.split("#")[0].split()
        if words[0] == "lm-eval":  # the harness's own, which are tested where it is
            continue
        options = {o for p in known[words[0]].params for o in p.opts}
        assert {w for w in words if w.startswith("--")} <= options, line
