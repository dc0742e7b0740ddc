"""Optuna's journal: what is read of it, and what is written to it."""

import itertools
import json
from types import SimpleNamespace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock, _file

from lifline.errors import TuningError
from lifline.tuning.journal import JournalStore
from lifline.tuning.study import counted, next_trial, open_study
from lifline.tuning.winner import all_studies
from tests.tuning.studies import DATA


@pytest.fixture
def journal(repository, tuned):
    """A journal with a study of three trials: one complete, two running."""
    study = open_study(JournalStore(), tuned, DATA, None, None)
    for _ in range(3):
        trial = next_trial(study, tuned, 3, "a driver")
        trial.report(0.5, 1)
    study.tell(0, 0.5)
    return repository / "optuna.journal"


@pytest.fixture
def plain(repository):
    """The same study as Optuna itself writes it."""
    path = repository / "optuna.journal"
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="plain")
    for _ in range(3):
        study.ask({"x": optuna.distributions.FloatDistribution(0, 1)}).report(0.5, 1)
    study.tell(0, 0.5)
    return path


def refused(journal):
    """The error of a journal, to which nothing is appended."""
    content = journal.read_bytes()
    with pytest.raises(TuningError) as raised:
        JournalStore()
    message = str(raised.value)
    assert message.startswith(f"{journal} is damaged: line ")
    assert "move the file away to begin anew" in message
    assert len(message) < 400
    assert "\n" not in message
    assert journal.read_bytes() == content
    return message


def lines_of(journal):
    return journal.read_bytes().splitlines(keepends=True)


def test_a_study_is_read_as_it_was_written(journal):
    (study,) = all_studies(JournalStore())
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING", "RUNNING"]
    assert len(counted(study.trials)) == 3


def test_optuna_reads_and_writes_it_too(journal):
    storage = JournalStorage(JournalFileBackend(str(journal)))
    name = all_studies(JournalStore())[0].study_name
    study = optuna.load_study(study_name=name, storage=storage)
    study.set_user_attr("note", "theirs")
    study.tell(1, float("inf"))
    (ours,) = all_studies(JournalStore())
    ours.set_user_attr("other", "ours")
    assert (
        optuna.load_study(study_name=name, storage=storage).user_attrs.items()
        >= {"note": "theirs", "other": "ours"}.items()
    )
    JournalStore()


def test_a_record_that_was_cut_short_is_dropped(journal):
    content = journal.read_bytes()
    journal.write_bytes(content + content.splitlines()[-1][:20])
    store = JournalStore()
    assert journal.read_bytes().startswith(content)
    all_studies(store)[0].set_user_attr("a", 1)
    assert journal.read_bytes().startswith(content)
    assert all_studies(JournalStore())[0].user_attrs["a"] == 1


ODD = [
    b"garbage\n",
    b"\n",
    b"5\n",
    b"\xff\xfe\n",
    b"[" * 100_000 + b"\n",
    b'{"op_code": 99, "worker_id": "a"}\n',
    b'{"op_code": 8, "worker_id": "a"}\n',
    b'{"op_code": 8, "worker_id": "a", "trial_id": 77, "user_attr": {"a": 1}}\n',
    b'{"op_code": 2, "worker_id": "a", "study_id": 77, "user_attr": {"a": 1}}\n',
    b'{"op_code": 8, "worker_id": "a", "trial_id": 1, "user_attr": 5}\n',
    b'{"op_code": 6, "worker_id": "a", "trial_id": 1, "state": 9, "values": null}\n',
    b'{"op_code": 6, "worker_id": "a", "trial_id": 1, "state": 1, "values": null, "datetime_complete": "2020-01-01"}\n',
    b'{"op_code": 0, "worker_id": "a", "study_name": "b", "directions": [7]}\n',
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_a_line_that_is_no_record_is_named_wherever_it_stands(journal, odd):
    lines = lines_of(journal)
    journal.write_bytes(b"".join(lines) + odd)
    assert f"line {len(lines) + 1} " in refused(journal)
    journal.write_bytes(odd + b"".join(lines))
    assert "line 1 " in refused(journal)


@pytest.mark.parametrize("odd", [b"garbage\n", b'{"op_code": 8, "worker_id": "a"}\n'])
def test_a_journal_that_is_damaged_in_use_gets_no_more_records(journal, odd):
    (study,) = all_studies(JournalStore())
    with journal.open("ab") as file:
        file.write(odd)
    content = journal.read_bytes()
    for use in (lambda: study.set_user_attr("a", 1), study.ask, lambda: study.trials):
        with pytest.raises(TuningError, match="is damaged: line "):
            use()
    assert journal.read_bytes() == content
    journal.write_bytes(content.removesuffix(odd))
    JournalStore()


def test_a_journal_that_becomes_shorter_in_use_is_named(journal):
    (study,) = all_studies(JournalStore())
    journal.write_bytes(b"".join(lines_of(journal)[:-1]))
    with pytest.raises(TuningError, match="has become shorter"):
        study.set_user_attr("a", 1)


def test_a_line_that_was_lost_repeated_or_changed_is_seen(journal):
    lines = lines_of(journal)
    for number in range(len(lines) - 1):
        journal.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
        assert f"line {number + 1} " in refused(journal)
    for number in range(len(lines)):
        journal.write_bytes(b"".join(lines[: number + 1] + lines[number:]))
        assert f"line {number + 2} " in refused(journal)
        changed = lines[number].replace(b'"worker_id":"', b'"worker_id":"x')
        assert changed != lines[number]
        journal.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
        assert f"line {number + 1} " in refused(journal)
    journal.write_bytes(b"".join(lines))
    JournalStore()


def test_of_what_optuna_itself_wrote_a_lost_study_and_a_repeated_trial_are_seen(plain):
    lines = lines_of(plain)
    JournalStore()
    plain.write_bytes(b"".join(lines[1:]))
    assert "line 1 is about study 0, which no line above it makes" in refused(plain)
    (first, *_) = [number for number, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
    plain.write_bytes(b"".join(lines[: first + 1] + lines[first:]))
    assert f"line {first + 2} repeats one above it" in refused(plain)
    plain.write_bytes(b"".join(lines + lines))
    assert "repeats one above it" in refused(plain)


def test_several_may_write_at_once(journal):
    stores = [JournalStore() for _ in range(3)]
    studies = [all_studies(store)[0] for store in stores]
    for count in range(4):
        for study in studies:
            study.enqueue_trial({"network.beta": 0.5})
            study.set_user_attr("count", count)
    assert {len(study.trials) for study in studies} == {15}
    assert len(all_studies(JournalStore())[0].trials) == 15


FOREIGN = b'{"op_code":2,"worker_id":"another","study_id":0,"user_attr":{"note":"theirs"}}\n'


def append(path, content):
    with path.open("ab") as file:
        file.write(content)


@pytest.mark.parametrize("lock", [JournalFileSymlinkLock, JournalFileOpenLock])
def test_optuna_writes_no_line_between_what_was_checked_and_ours(journal, monkeypatch, lock):
    def optuna_tries(records):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_file, "time", SimpleNamespace(monotonic=lambda: 0, sleep=give_up))
            try:
                theirs.acquire()
            except InterruptedError:
                return next_lines(records)
        append(journal, FOREIGN)
        theirs.release()
        return next_lines(records)

    def give_up(_):
        waited.append(True)
        raise InterruptedError

    waited, theirs, store = [], lock(str(journal)), JournalStore()
    checked = store.optuna._backend.checked
    next_lines = checked.next_lines
    monkeypatch.setattr(checked, "next_lines", optuna_tries)
    all_studies(store)[0].set_user_attr("other", "ours")
    assert waited
    theirs.acquire()  # which is free again
    append(journal, FOREIGN)
    theirs.release()
    all_studies(store)[0].set_user_attr("third", "ours")
    assert all_studies(JournalStore())[0].user_attrs.items() >= {"note": "theirs", "third": "ours"}.items()


def test_a_line_that_optuna_is_writing_is_not_cut(journal, monkeypatch):
    def write_the_rest(_):
        append(journal, FOREIGN[20:])
        theirs.release()

    (study,) = all_studies(JournalStore())
    theirs = JournalFileSymlinkLock(str(journal))
    theirs.acquire()
    append(journal, FOREIGN[:20])
    monkeypatch.setattr(_file, "time", SimpleNamespace(monotonic=lambda: 0, sleep=write_the_rest))
    study.set_user_attr("other", "ours")
    assert all_studies(JournalStore())[0].user_attrs.items() >= {"note": "theirs", "other": "ours"}.items()


def test_what_a_killed_process_held_of_optunas_lock_stops_no_one(journal, monkeypatch):
    (study,) = all_studies(JournalStore())
    study._storage._backend.optunas_lock.acquire()  # by one of ours
    with monkeypatch.context() as patch:
        patch.setattr(_file, "time", SimpleNamespace(monotonic=lambda: 0))  # without `sleep`: there is no waiting
        study.set_user_attr("a", 1)
    JournalFileOpenLock(str(journal)).acquire()  # by one of Optuna's
    monkeypatch.setattr(_file, "time", SimpleNamespace(monotonic=itertools.count(step=5).__next__, sleep=id))
    study.set_user_attr("a", 2)
    assert all_studies(JournalStore())[0].user_attrs["a"] == 2
    assert [path.name for path in journal.parent.glob("optuna.journal*")] == ["optuna.journal"]


def test_what_was_read_is_not_read_again(journal, monkeypatch):
    store = JournalStore()
    checked = []
    real = store.optuna._backend.checked.check
    monkeypatch.setattr(store.optuna._backend.checked, "check", lambda line: (checked.append(line), real(line)))
    (study,) = all_studies(store)
    study.set_user_attr("a", 1)
    assert len(study.trials) == 3
    assert checked == lines_of(journal)[-1:]


def test_a_driver_leaves_nothing_behind(repository):
    drivers = repository / ".tuning/drivers"
    store = JournalStore()
    (repository / ".tuning/drivers").mkdir(parents=True)
    (drivers / "killed").touch()
    with pytest.raises(KeyboardInterrupt), store.driving() as driver:  # noqa: PT012
        assert store.live_drivers() == {driver} == {path.name for path in drivers.iterdir()}
        raise KeyboardInterrupt
    assert list(drivers.iterdir()) == []
    for study in ("one", "two"):
        with store.exclusive(study):
            pass
    assert {path.name for path in (repository / ".tuning").rglob("*") if path.is_file()} == {
        "drivers.lock", "journal.lock", "studies.lock"
    }  # fmt: skip
