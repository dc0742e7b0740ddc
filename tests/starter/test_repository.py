import os
import re
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from lifline.errors import LiflineError
from lifline.evaluation.report import EvaluationReport
from lifline.presets import change_params
from lifline.serving.sources import DRAWN_SUFFIX
from lifline.starter import repository
from lifline.starter.pin import changed_files
from tests.conftest import ROOT, assert_one_line_error
from tests.git import git
from tests.processes import clean_environment


@pytest.fixture
def quick(monkeypatch):
    """Let DVC's part be done by a folder: it takes seconds. The checkout is as committed."""
    run = repository._run

    def quickly(*command, folder):
        if "dvc" in command:
            (folder / ".dvc").mkdir()
        else:
            run(*command, folder=folder)

    monkeypatch.setattr(repository, "_run", quickly)
    monkeypatch.setattr(repository, "changed_files", lambda *_: [])


def committed(name, checkout=ROOT):
    command = ["git", "-C", checkout, "show", f"HEAD:{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def files_in(folder):
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith(".git/")}


def test_a_repository_has_the_pipeline_and_pins_lifline(quick, lifline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = lifline("init", "mine/pollen")
    assert (code, err) == (0, "")
    assert "mine/pollen/README.md" in out
    folder = tmp_path / "mine/pollen"
    for name in ("params.yaml", "presets/fast.yaml", "pipeline/train.py", "data/mnist/dataset.yaml", ".dvc/config"):
        assert (folder / name).read_text() == committed(name)
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert requirements[0] == "-c constraints.txt"
    assert requirements[1].startswith("lifline[all]")
    assert "torch==" in (folder / "constraints.txt").read_text()
    assert "--hash" not in (folder / "constraints.txt").read_text()
    assert (folder / ".git").is_dir()
    assert not (folder / ".unfinished").exists()
    made = [
        "models/imported.safetensors",
        "predictions.csv",
    ]  # by `lifline import` and `predict`
    for place in (folder, ROOT):
        assert git(place, "check-ignore", *made).split() == made


def test_its_stages_depend_on_the_requirements_in_place_of_liflines_code(quick, lifline, tmp_path):
    lifline("init", str(tmp_path / "mine"))
    ours = YAML(typ="safe").load(committed("dvc.yaml"))
    theirs = YAML(typ="safe").load((tmp_path / "mine/dvc.yaml").read_text())
    for name, stage in theirs["stages"].items():
        before = ours["stages"][name]
        to_the_root = "../" if name == "download" else ""
        code = {dep for dep in before["deps"] if "src/lifline" in dep}
        requirements = {f"{to_the_root}requirements.txt", f"{to_the_root}constraints.txt"}
        assert set(stage.pop("deps")) == set(before.pop("deps")) - code | requirements
        assert stage.pop("cmd") == before.pop("cmd").replace("PYTHONPATH=src ", "")
        assert stage == before
    assert {**theirs, "stages": None} == {**ours, "stages": None}


def test_its_make_asks_for_a_pip_that_reads_the_pin(quick, lifline, tmp_path):
    lifline("init", str(tmp_path))
    command = ["make", "--dry-run", "--no-print-directory", "repro"]  # which says where it is if make runs the suite
    recipe = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    told, venv, new_enough, requirements, *_ = recipe.splitlines()
    assert "Setting up .venv: some 7 GB on disk" in told
    assert venv.endswith("-m venv .venv")
    assert new_enough.endswith("pip install 'pip>=24.1'")  # 24.0 takes git+file:///clone for a path
    assert requirements == "pip install -r requirements.txt"


def test_its_make_does_what_the_guide_asks_of_make(quick, lifline, tmp_path):
    lifline("init", str(tmp_path))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/installed").touch()
    for target, command in {"exp": "dvc exp show", "dashboard": "optuna-dashboard", "ui": "lifline ui"}.items():
        ours, theirs = (
            subprocess.run(
                ["make", "--dry-run", "--no-print-directory", target],
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for folder in (ROOT, tmp_path)
        )
        assert command in theirs
        theirs = theirs.replace(r"(constraints|requirements)\.txt|", "")
        assert theirs.replace("(pipeline|", "(src|pipeline|") in ours


def test_its_table_of_experiments_has_no_hashes(quick, lifline, tmp_path):
    lifline("init", str(tmp_path))
    not_shown = re.search(r"(?m)^NOT_SHOWN = (.*)$", (tmp_path / "Makefile").read_text())[1].replace("$$", "$")
    stages = YAML(typ="safe").load((tmp_path / "dvc.yaml").read_text())["stages"]
    files = {dep for stage in stages.values() for dep in stage["deps"] if "$" not in dep}
    assert {dep for dep in files if not re.match(not_shown, dep)} == set()


def test_git_leaves_to_dvc_what_an_interrupted_first_run_has_made(quick, lifline, tmp_path):
    """DVC names its files to git when a run has ended, and `git add .` may come before."""
    lifline("init", str(tmp_path))
    with Repo(str(tmp_path)) as repo:
        outs = {os.path.relpath(out.fs_path, tmp_path): out.use_cache for out in repo.index.outs}
    command = ["git", "check-ignore", *outs]
    ignored = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert set(ignored) == {path for path, is_kept_by_dvc in outs.items() if is_kept_by_dvc}


def test_what_predict_draws_beside_pictures_is_no_data_for_dvc(quick, lifline, tmp_path):
    lifline("init", str(tmp_path))
    for folder in (ROOT, tmp_path):
        picture = folder / "data/pictures/train/cat/1.png"
        with Repo(str(folder)) as repo:
            assert repo.dvcignore.is_ignored_file(f"{picture}{DRAWN_SUFFIX}")
            assert not repo.dvcignore.is_ignored_file(str(picture))


def test_its_readme_adds_images_to_dvc_before_git_has_them(quick, lifline, tmp_path):
    lifline("init", str(tmp_path))
    steps = (tmp_path / "README.md").read_text()
    assert 0 < steps.index("dvc add data/pictures") < steps.index("git add .") < steps.index("make repro")


def test_its_params_name_what_is_there(quick, lifline, tmp_path):
    lifline("init", str(tmp_path))
    heading = re.findall(r"(?m)^#.*", (tmp_path / "params.yaml").read_text())
    named = re.findall(r"[\w.]+/[\w./]*", "\n".join(heading))
    assert named == ["presets/"]
    assert (tmp_path / "presets").is_dir()


def test_a_folder_that_is_not_empty_is_refused(quick, lifline, tmp_path):
    (tmp_path / "notes.txt").touch()
    for folder in (tmp_path, tmp_path / "notes.txt"):
        code, _, err = lifline("init", str(folder))
        assert_one_line_error((code, err), f"{folder} is not empty", "allowed")
    assert files_in(tmp_path) == {"notes.txt"}


@pytest.fixture
def checkout(quick, tmp_path, monkeypatch):
    """A small checkout of lifline's, from which it runs."""
    folder = tmp_path / "checkout"
    for path in (*repository.repository_files(ROOT), *(ROOT / "src/lifline/starter").rglob("*")):
        if path.is_file():
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "First"]):
        git(folder, *command)
    monkeypatch.setattr(repository, "files", lambda _: folder / "src/lifline/starter")
    monkeypatch.setattr(repository, "changed_files", changed_files)
    return folder


def test_of_a_checkout_what_is_committed_is_copied(checkout, lifline, tmp_path):
    before = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(before.replace("dataset: mnist", "dataset: pictures"))
    (checkout / "presets/mine.yaml").touch()
    code, _, err = lifline("init", str(tmp_path / "mine"))
    assert code == 0
    mine = tmp_path / "mine"
    assert err == f"warning: your changes to params.yaml and 1 more are not committed, and so not in {mine}\n"
    assert (tmp_path / "mine/params.yaml").read_text() == before
    assert not (tmp_path / "mine/presets/mine.yaml").exists()


def test_code_that_is_not_as_committed_is_warned_of(checkout, lifline, tmp_path):
    for name in ("new.py", "other.py"):
        (checkout / "src/lifline" / name).touch()
    code, _, err = lifline("init", str(tmp_path / "mine"))
    assert code == 0
    told = "your changes to src/lifline/new.py and 1 more are not committed, and so not in"
    assert err == f"warning: {told} {tmp_path / 'mine'}\n"
    assert (tmp_path / "mine/requirements.txt").is_file()


def test_a_lifline_that_cannot_be_pinned_leaves_nothing(lifline, tmp_path, monkeypatch):
    def refuse(*_):
        raise LiflineError("nothing tells")

    monkeypatch.setattr(repository, "pin", refuse)
    code, _, err = lifline("init", str(tmp_path / "mine"))
    assert_one_line_error((code, err), "nothing tells")
    assert not (tmp_path / "mine").exists()


def test_interrupted_it_leaves_what_the_same_command_goes_on_from(quick, lifline, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(repository, "_without_hashes", lambda _: os.kill(os.getpid(), 2))
        assert lifline("init", str(tmp_path))[0] == 130
    assert {path.name for path in tmp_path.iterdir()} == {".unfinished"}
    assert lifline("init", str(tmp_path))[0] == 0
    assert (tmp_path / "requirements.txt").is_file()


def test_without_git_it_says_so(lifline, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = lifline("init", str(tmp_path / "mine"))
    assert_one_line_error((code, err), "git is not installed")


@pytest.mark.slow
def test_the_pipeline_runs_there_on_images_of_ones_own(tmp_path):
    def run(*command, folder=tmp_path):
        environment = clean_environment() | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-c", "from lifline.cli import main; main()", "init", "mine")
    folder = tmp_path / "mine"
    generator = np.random.default_rng(1)
    labels = np.arange(300) % 3
    images = generator.integers(0, 60, (300, 12, 12)) + 150 * np.eye(3)[labels].repeat(4, axis=1)[:, None, :]
    np.savez(folder / "data/stripes.npz", x_train=images.astype(np.uint8), y_train=labels)
    small = {"data.dataset": "stripes.npz", "data.validation_size": 50, "train.epochs": 3, "network.layers": "50"}
    with chdir(folder):
        change_params(small)
    run("dvc", "add", "data/stripes.npz", folder=folder)
    run("git", "add", ".", folder=folder)
    run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-m", "The pipeline", folder=folder)
    run("dvc", "repro", folder=folder)
    assert EvaluationReport.model_validate_json((folder / "reports/evaluation.json").read_text()).total == 60
    assert "registered as version" not in run("dvc", "repro", folder=folder)  # nothing has changed
    with (folder / "requirements.txt").open("a") as requirements:
        requirements.write("# another lifline\n")
    assert "changed deps" in run("dvc", "status", folder=folder)
