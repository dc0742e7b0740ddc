"""Every message that an error may have is told of, and no other."""

import ast
import re
from functools import cache
from pathlib import Path

import dvc

from docs.tools.snippets import ROOT
from lifline import errors

PAGE = ROOT / "docs/troubleshooting.md"
HELPERS = {"DamagedError", "LayersError", "_not_made"}
"""What is told with more words around it, as one of lifline's errors or in its place."""

KINDS = HELPERS | {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.LiflineError)
}
LEAST = 3
"""Letters that a message has of its own; with fewer it only passes another on."""


@cache
def messages() -> dict[str, set[str]]:
    """Each message of the sources, `{}` in place of what differs, with the kinds of errors that have it."""
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in KINDS and node.args:
                message = " ".join(template(node.args[0]).replace("`", "").split())
                if len(re.findall(r"[a-z]", message.replace("{}", ""))) >= LEAST:
                    found.setdefault(message, set()).add(node.func.id)
    return found


def template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    return "{}"


@cache
def documented() -> dict[str, re.Pattern[str]]:
    """The messages of the page, as patterns: `…` stands for anything."""
    rows = re.findall(r"^\| (`.*?`) \| ", PAGE.read_text(), flags=re.MULTILINE)
    shown = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    whole = {each: each.removeprefix("… ") for each in shown}  # the name before a message may be put there by others
    return {each: re.compile(".*" + ".*".join(map(re.escape, whole[each].split("…")))) for each in shown}


OF_THE_COMMAND = {
    "out of memory; make train.batch_size, network.layers or network.num_steps in params.yaml smaller",
    "… is not installed; pip install '.[…]' in a clone brings what is needed",
}

OF_OTHERS = {
    "failed to reproduce 'download': [Errno 2] No such file or directory: '…/data/…'": "dvc/repo/reproduce.py",
    "failed to parse 'stages.…' in 'dvc.yaml': Could not find '…'": "dvc/parsing/__init__.py",
    "… is busy, it is being blocked by: …": "dvc/rwlock.py",
    "Empty git repo": "scmrepo/git/backend/dulwich/__init__.py",
    "output '…' is already tracked by SCM": "dvc/output.py",
    "No file hash info found for '…'. It won't be created": "dvc_data/index/checkout.py",
    "YAML file structure is corrupted": "dvc/utils/serialize/_yaml.py",
    "Sweep overrides can't be used without --queue": "dvc/repo/experiments/run.py",
    "To append to your config use +…": "hydra/_internal/config_loader_impl.py",
}
"""Messages of DVC's and Hydra's, and the file of theirs that has them."""


def test_what_others_say_is_said_so():
    packages = Path(dvc.__file__).parents[1]
    for message, file in OF_OTHERS.items():
        words = max(re.split(r"[…']", message.partition(":")[0]), key=len)
        assert words.strip() in (packages / file).read_text().replace("`", ""), message


def test_every_message_of_the_page_is_one_of_the_code():
    said = {shown for shown, pattern in documented().items() if any(map(pattern.fullmatch, messages()))}
    assert documented().keys() - said == OF_THE_COMMAND | OF_OTHERS.keys()


def test_what_a_command_says_by_itself_is_there():
    command = (ROOT / "src/lifline/command.py").read_text()
    assert not [part for message in OF_THE_COMMAND for part in message.split("…") if part not in command]
    assert "interrupted" in command


def test_every_message_of_the_code_is_on_the_page():
    missing = {message for message in messages() if not any(each.fullmatch(message) for each in documented().values())}
    assert missing == set()


def test_every_kind_of_error_has_messages_there():
    kinds = {
        kind
        for message, raised in messages().items()
        for kind in raised
        if any(each.fullmatch(message) for each in documented().values())
    }
    assert kinds == KINDS
