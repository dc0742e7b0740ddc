"""The house holds: who imports whom, what a stage depends on, what it leaves."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lifline import paths
from lifline.experiments.fingerprint import COMPUTING
from tests.conftest import ROOT

PACKAGE = ROOT / "src/lifline"
DVC_YAML = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
STAGES = DVC_YAML["stages"]

FOUNDATION = {"__init__.py", "errors.py", "paths.py", "system"}
"""What all stand on; it decides no bit of a trained network."""

WATCHING = {
    "cli", "command.py", "demo.py", "experiments", "imports", "presets.py", "provenance.py", "serving", "stage.py",
    "starter", "tracking", "tuning",
}  # fmt: skip
"""What shows, keeps and drives."""

MAKERS = {"download", "export", "figures"}
"""What watches, too, but makes outputs of stages, which depend on it."""


def module_files(name: str) -> list[Path]:
    """The files that `import name` runs: the module's, and its packages' `__init__`."""
    path = ROOT / "src" / Path(*name.split("."))
    files = [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else [path / "__init__.py"]
    if "." in name:
        files += module_files(name.rpartition(".")[0])
    return [file for file in files if file.is_file()]


def nodes_that_run(tree: ast.AST):
    """All but what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            yield node
            yield from nodes_that_run(node)


@cache
def imported(path: Path) -> frozenset[str]:
    """The names of all modules that a file imports, wherever in it."""
    names = set()
    for node in nodes_that_run(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(names)


def imports_of(path: Path) -> set[Path]:
    """The files of lifline's that a file imports itself."""
    names = {name for name in imported(path) if name.split(".")[0] == "lifline"}
    return {file for name in names for file in module_files(name)} - {path}


def reachable(start: Path, not_through: Callable[[Path], bool] = lambda _: False) -> set[Path]:
    """All files that an import of a file runs, but those that are reached only through some."""
    found, to_read = set(), [start]
    while to_read:
        for file in imports_of(to_read.pop()) - found:
            found.add(file)
            if not not_through(file):
                to_read.append(file)
    return found


def room(path: Path) -> str:
    """The package of lifline's, or the module beside them, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_room_is_of_one_kind():
    kinds = [set(COMPUTING), FOUNDATION, WATCHING, MAKERS]
    rooms = {room(path) for path in modules()}
    assert rooms == set.union(*kinds)
    assert len(rooms) == sum(map(len, kinds))


@pytest.mark.parametrize("name", [*COMPUTING, *sorted(FOUNDATION)])
def test_what_computes_never_imports_what_watches(name):
    allowed = {*COMPUTING, *FOUNDATION} if name in COMPUTING else FOUNDATION
    for path in modules():
        if room(path) == name:
            assert {room(file) for file in reachable(path)} <= allowed, path


def test_the_neuron_knows_neither_params_nor_pydantic_nor_files():
    for path in (PACKAGE / "snn").rglob("*.py"):
        assert not {"pydantic", "lifline.params", "lifline.system.files"} & imported(path), path
        assert {room(file) for file in reachable(path)} <= {
            "snn",
            "choices.py",
            "errors.py",
            "layers.py",
            "__init__.py",
            "system",
        }


def test_no_imports_go_in_a_circle():
    for path in modules():
        if path.name != "__init__.py":
            assert path not in reachable(path, lambda file: file.name == "__init__.py"), path


def test_no_rooms_go_in_a_circle():
    """Between packages, too: what stands lower knows nothing of what stands on it."""
    outgoing = {}
    for path in modules():
        outgoing.setdefault(room(path), set()).update(room(file) for file in imports_of(path))
    del outgoing["__init__.py"]
    while leaves := [name for name, others in outgoing.items() if not (others & outgoing.keys()) - {name}]:
        for leaf in leaves:
            del outgoing[leaf]
    assert not outgoing


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_what_it_reaches_and_what_makes_its_outputs(stage):
    listed = {name.partition("src/lifline/")[2] for name in STAGES[stage]["deps"] if "src/lifline/" in name}
    reached = reachable(ROOT / f"pipeline/{stage}.py", lambda file: room(file) == "tracking")
    made = set(COMPUTING) if stage == "train" else {*COMPUTING, *MAKERS}  # a training's figure is no output
    assert listed == {room(file) for file in reached} & made


def test_a_training_depends_on_little():
    assert len(STAGES["train"]["deps"]) <= 10


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_own_script_and_is_thin(stage):
    script = f"pipeline/{stage}.py"
    to_the_root = {"data": "../"}.get(STAGES[stage].get("wdir"), "")
    change_folder = f"cd {to_the_root.strip('/')} && " if to_the_root else ""
    assert STAGES[stage]["cmd"] == f"{change_folder}PYTHONPATH=src python -m lifline.stage {stage}"
    assert to_the_root + script in STAGES[stage]["deps"]
    assert len((ROOT / script).read_text().splitlines()) < 60


def test_the_outputs_are_where_the_code_writes_them():
    written = {path.as_posix() for path in vars(paths).values() if isinstance(path, Path)}
    stated = set()
    for stage in STAGES.values():
        for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
            names = set(out) if isinstance(out, dict) else {out}
            stated |= {Path(stage.get("wdir", ""), name).as_posix() for name in names}
    assert stated == written


def test_the_models_are_artifacts_of_dvcs():
    found = {artifact["path"]: artifact["type"] for artifact in DVC_YAML["artifacts"].values()}
    assert found == {paths.MODEL.as_posix(): "model", paths.ONNX_MODEL.as_posix(): "model"}


def test_the_library_imports_nothing_from_the_pipeline():
    assert not [path for path in modules() for name in imported(path) if name.split(".")[0] == "pipeline"]


@pytest.mark.parametrize(("library", "owner"), [("mlflow", "tracking"), ("optuna", "tuning"), ("ray", "tuning")])
def test_one_package_alone_imports_a_library(library, owner):
    importers = {room(path) for path in modules() for name in imported(path) if name.split(".")[0] == library}
    assert importers == {owner}


def test_no_module_grows_beyond_reading():
    longest = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in modules()}
    assert {name for name, lines in longest.items() if lines > 400} <= {"snn/kernels/cpu.py"}


def is_definition(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(
        node,
        ast.Import
        | ast.ImportFrom
        | ast.FunctionDef
        | ast.AsyncFunctionDef
        | ast.ClassDef
        | ast.Assign
        | ast.AnnAssign,
    )


def test_nothing_happens_at_import_but_definitions():
    acts = {
        path.relative_to(PACKAGE).as_posix(): ast.unparse(node)
        for path in modules()
        for node in ast.parse(path.read_text()).body
        if not is_definition(node)
    }
    assert acts == {
        "__init__.py": "settle(THREADS)",
        "snn/network.py": "_pytree._register_namedtuple(Record, serialized_type_name='lifline.snn.Record')",
        "tracking/__init__.py": "settle(MLFLOW)",
        "tuning/__init__.py": "settle(STUDIES)",
    }


def test_every_process_of_lifline_settles_before_pytorch_is_imported():
    """The package's own import settles; so nothing else may come before it."""
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    for script in (ROOT / "pipeline").glob("*.py"):
        others = {name.split(".")[0] for name in imported(script)} - {"lifline"}
        assert others <= sys.stdlib_module_names, script


BLIND = """
import sys, runpy
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

class Stub(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        stubbed = ("lifline.tracking", "lifline.figures", "lifline.experiments.display", "lifline.presets")
        return ModuleSpec(name, self, is_package=True) if name.startswith(stubbed) else None
    def create_module(self, spec):
        stub = MagicMock(name=spec.name)
        stub.__spec__, stub.__path__ = spec, []
        return stub
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Stub())
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
def test_a_training_that_nobody_watches_gives_the_same_bytes(workspace, stage):
    assert stage("train")[0] == 0
    watched = paths.MODEL.read_bytes(), paths.TRAIN_METRICS.read_bytes(), paths.LOSS.read_bytes()
    for path in (paths.MODEL, paths.TRAIN_METRICS, paths.LOSS):
        path.unlink()
    script = str(ROOT / "pipeline/train.py")
    done = subprocess.run(
        [sys.executable, "-c", BLIND, script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (paths.MODEL.read_bytes(), paths.TRAIN_METRICS.read_bytes(), paths.LOSS.read_bytes()) == watched
