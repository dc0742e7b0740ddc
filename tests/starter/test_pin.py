import json
from pathlib import Path

import pytest

from lifline.errors import LiflineError
from lifline.starter.pin import changed_files, extract_committed, pin
from tests.git import git


class Installed:
    def __init__(self, origin=None):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin and json.dumps(self.origin)


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (
            {"url": "https://example.org/lifline.git", "vcs_info": {"vcs": "git", "commit_id": "f00d"}},
            "lifline[all] @ git+https://example.org/lifline.git@f00d",
        ),
        (
            {"url": "file:///a/lifline.whl", "archive_info": {"hashes": {"sha256": "beef"}}},
            "lifline[all] @ file:///a/lifline.whl#sha256=beef",
        ),
        ({"url": "file:///a/lifline.whl", "archive_info": {}}, "lifline[all] @ file:///a/lifline.whl"),
        ({"url": "file:///a/lifline", "dir_info": {}}, "lifline[all] @ file:///a/lifline"),
    ],
)
def test_what_is_installed_is_pinned_to_where_it_came_from(origin, requirement):
    assert pin(Installed(origin), None) == requirement


def test_without_a_place_that_it_came_from_nothing_is_pinned():
    with pytest.raises(LiflineError, match="nothing tells where lifline came from"):
        pin(Installed(), None)


@pytest.fixture
def checkout(tmp_path) -> Path:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "First")
    return tmp_path


def commit_all(folder):
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Second")


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        (None, None),
        ("https://example.org/lifline.git", "https://example.org/lifline.git"),
        ("https://me:hunter2@example.org:8443/lifline.git", "https://example.org:8443/lifline.git"),
        ("git@example.org:lifline.git", None),
    ],
)
def test_a_checkout_is_pinned_to_its_commit_without_a_password(checkout, remote, address):
    if remote:
        git(checkout, "remote", "add", "origin", remote)
    commit = git(checkout, "rev-parse", "HEAD")
    assert pin(Installed(), checkout) == f"lifline[all] @ git+{address or checkout.as_uri()}@{commit}"


def test_a_checkout_without_a_commit_is_named(tmp_path):
    with pytest.raises(LiflineError, match=str(tmp_path)):
        pin(Installed(), tmp_path)


def test_what_differs_from_the_commit_is_found(checkout):
    for name in ("params.yaml", "presets/fast.yaml", "notes.txt"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("as committed")
    assert changed_files(checkout, ["params.yaml", "presets/*.yaml"]) == ["params.yaml", "presets/fast.yaml"]
    commit_all(checkout)
    assert changed_files(checkout, ["params.yaml", "presets/*.yaml"]) == []
    for name in ("params.yaml", "notes.txt"):
        (checkout / name).write_text("other")
    assert changed_files(checkout, ["params.yaml", "presets/*.yaml"]) == ["params.yaml"]


def test_files_are_extracted_as_committed(checkout, tmp_path_factory):
    for name in ("params.yaml", "presets/fast.yaml", "presets/old/fast.yaml", "notes.txt"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("as committed")
    commit_all(checkout)
    (checkout / "params.yaml").write_text("other")
    (checkout / "presets/mine.yaml").touch()
    folder = tmp_path_factory.mktemp("extracted")
    extract_committed(checkout, ["params.yaml", "presets/*.yaml"], folder)
    extracted = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert extracted == {"params.yaml", "presets/fast.yaml"}
    assert (folder / "params.yaml").read_text() == "as committed"
