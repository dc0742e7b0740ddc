"""dvc.yaml against the code: DVC reruns a stage only for the files that dvc.yaml names."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

DVC_YAML = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
STAGES = DVC_YAML["stages"]


def module_files(name: str) -> list[Path]:
    """The files that `import name` runs: the module's, and its packages' `__init__`."""
    path = ROOT / "src" / Path(*name.split("."))
    files = [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else [path / "__init__.py"]
    if "." in name:
        files += module_files(name.rpartition(".")[0])
    return files


def nodes_that_run(tree: ast.AST):
    """All but what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            yield from nodes_that_run(node)


def imported(path: Path) -> set[str]:
    names = set()
    for node in nodes_that_run(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.split(".")[0] == "lifline"}


def reachable(script: Path) -> set[Path]:
    found, to_read = set(), [script]
    while to_read:
        for name in imported(to_read.pop()):
            for file in module_files(name):
                if file.is_file() and file not in found:
                    found.add(file)
                    to_read.append(file)
    return found


def says_something(path: Path) -> bool:
    """Whether a module holds more than a docstring."""
    return len(ast.parse(path.read_text()).body) > 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_it_imports(stage):
    listed = set()
    for dependency in STAGES[stage]["deps"]:
        path = ROOT / dependency
        if dependency.startswith("src/"):
            listed |= set(path.glob("**/*.py")) if path.is_dir() else {path}
    listed, imports = (
        set(filter(says_something, paths)) for paths in (listed, reachable(ROOT / f"pipeline/{stage}.py"))
    )
    assert {path.relative_to(ROOT) for path in listed} == {path.relative_to(ROOT) for path in imports}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_own_script_and_is_thin(stage):
    script = f"pipeline/{stage}.py"
    assert STAGES[stage]["cmd"] == f"PYTHONPATH=src python {script}"
    assert script in STAGES[stage]["deps"]
    assert len((ROOT / script).read_text().splitlines()) < 60


def test_the_library_imports_nothing_from_the_pipeline():
    for path in (ROOT / "src").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module.split(".")[0] != "pipeline"


def test_one_package_alone_imports_mlflow():
    importers = {
        path.relative_to(ROOT / "src/lifline").as_posix()
        for path in (ROOT / "src").glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mlflow")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "mlflow" for alias in node.names))
    }
    assert {importer.split("/")[0] for importer in importers} == {"tracking"}
