"""Trials on workers of a real Ray, here and on a cluster of two nodes."""

import os
import signal
import subprocess
import time

import psutil
import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from lifline.presets import change_params
from lifline.system.environment import SETTINGS
from lifline.tuning.journal import JournalStore
from lifline.tuning.ray_workers import RayWorkers, _share, _share_of_devices
from lifline.tuning.study import REPEATS, counted, retry_of
from lifline.tuning.winner import all_studies
from tests.tracking.runs import wait_for
from tests.tuning.studies import LIFLINE, Silent, finish, longer_trials, outcome, runs, set_space


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes of one CPU each, and one more of none that the driver is on.

    Its nodes were started without our settings, as by `ray start`.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name in SETTINGS:
            environment.delenv(name, raising=False)
        cluster = new_cluster()
    yield cluster
    cluster.shutdown()


def new_cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.nodes_with_a_cpu = [cluster.add_node(num_cpus=1) for _ in range(2)]
    return cluster


def workers(parent=None):
    """The processes that train."""
    parent = psutil.Process(parent)
    return [process for process in parent.children(recursive=True) if process.name().startswith("ray::_Worker")]


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Saboteur(Silent):
    """Does something as soon as it is told of a second trial's epoch, when two are being trained."""

    def __init__(self, sabotage):
        self.sabotage = sabotage
        self.trials = set()

    def show_epoch(self, study, number, report):
        self.trials.add(number)
        if len(self.trials) == 2:
            sabotage, self.sabotage = self.sabotage, lambda: None
            sabotage()


def assert_one_was_tried_again(found, ready):
    assert len(counted(found)) == 3
    assert {trial.state.name for trial in counted(found)} <= {"COMPLETE", "PRUNED"}
    (again,) = [trial for trial in found if retry_of(trial) is not None]
    died = found[retry_of(again)]
    assert died.state.name == "FAIL"
    assert again.params == died.params
    parent, children = runs(ready)
    assert parent.info.status == "FINISHED"
    statuses = {run.data.tags["trial"]: run.info.status for run in children}
    assert statuses[str(died.number)] == "FAILED"
    assert "RUNNING" not in statuses.values()
    (failure,) = [run.data.tags["failure"] for run in children if run.info.status == "FAILED"]
    assert failure.startswith("its worker died: ")


@pytest.mark.slow
def test_workers_here_train_as_this_process_does_and_are_heard_by_this_machine_alone(ready):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (alone,) = finish(num_trials=1)
    torch.set_num_threads(threads)
    (ready / "optuna.journal").unlink()
    seen = []

    def look():
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            seen.extend(
                place.laddr.ip.removeprefix("::ffff:")
                for place in process.net_connections("tcp")
                if place.status == "LISTEN"
            )
        seen.append(len(workers()))

    found = finish(num_trials=3, watcher=Saboteur(look), workers=RayWorkers(2, cpus=0.5))
    assert outcome(found)[0] == outcome([alone])[0]
    assert {trial.state.name for trial in found} <= {"COMPLETE", "PRUNED"}
    assert len(found) == 3
    assert seen.pop() == 2
    assert set(seen) == {"127.0.0.1"}
    assert not ray.is_initialized()
    assert not workers()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.slow
def test_no_params_are_trained_twice(ready, cluster):
    set_space(ready, "{network.threshold: [1.0, 2.0, 3.0]}")
    trials = finish(20, workers=RayWorkers(2, cluster.address))
    trained = [trial for trial in trials if REPEATS not in trial.user_attrs]
    assert len(trained) == len({trial.params["network.threshold"] for trial in trained}) == 3
    assert len(trials) < 20


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_trial_alone(ready, cluster):
    longer_trials(ready, epochs=8)
    environment = {}

    def kill():
        worker = workers()[0]
        environment.update(worker.environ())
        worker.kill()

    watcher = Saboteur(kill)
    assert_one_was_tried_again(finish(3, watcher, workers=RayWorkers(2, cluster.address)), ready)
    assert environment.items() >= {name: os.environ[name] for name in SETTINGS}.items()
    assert environment["OMP_NUM_THREADS"] == "1"


@pytest.mark.slow
def test_a_node_that_goes_away_costs_its_trial_alone(ready, cluster):
    longer_trials(ready, epochs=80)
    watcher = Saboteur(lambda: cluster.remove_node(cluster.nodes_with_a_cpu.pop(), allow_graceful=False))
    assert_one_was_tried_again(finish(3, watcher, workers=RayWorkers(2, cluster.address)), ready)


@pytest.mark.slow
def test_what_no_node_has_is_refused(ready, cluster, command):
    code, _, error = command("tune", "--ray", cluster.address, "--cpus-per-trial", "64")
    assert (code, error) == (2, "error: --cpus-per-trial is 64; allowed is up to 1, which a node of Ray has\n")
    code, _, error = command("tune", "--ray", cluster.address, "--gpus-per-trial", "0.5")
    assert (code, error) == (2, "error: --gpus-per-trial is 0.5; allowed is up to 0, which a node of Ray has\n")


@pytest.mark.slow
def test_after_a_sigkill_of_the_driver_no_worker_is_left_and_the_study_goes_on(ready):
    longer_trials(ready, epochs=80)
    driver = subprocess.Popen(
        [*LIFLINE, "tune", "--trials", "2", "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for(lambda: (ready / "optuna.journal").exists() and len(running()) == 2, driver)
    trained = workers(driver.pid)
    assert len(trained) == 2
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    while any(is_alive(process) for process in trained):
        time.sleep(0.1)
    found = finish(num_trials=2)
    assert len(counted(found)) == 2
    assert len(found) == 4
    assert "RUNNING" not in {run.info.status for run in runs(ready)[1]}


@pytest.mark.slow
def test_what_goes_wrong_in_a_worker_is_told_as_if_here(ready, command, monkeypatch):
    monkeypatch.setenv("LIFLINE_KERNELS", "none")
    here = command("tune")
    assert here[0] == 2
    assert "LIFLINE_KERNELS is 'none'" in here[2]
    (ready / "optuna.journal").unlink()
    there = command("tune", "--workers", "2")
    assert (there[0], there[2]) == (2, here[2])
    assert {run.info.status for run in runs(ready)[1]} == {"FAILED"}


@pytest.mark.slow
def test_why_no_worker_starts_is_told(ready, cluster, command):
    change_params({"train.device": "mps"})
    code, _, error = command("tune", "--ray", cluster.address)
    assert code == 2
    assert error.startswith("error: no worker on Ray starts: ")
    assert "train.device is mps, which this machine does not have" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("total", "num_workers", "share"), [(8, 4, 2), (8, 3, 2), (2, 3, 0.6666), (2, 4, 0.5)])
def test_shares_of_cores_pack(total, num_workers, share):
    assert _share(total, num_workers) == pytest.approx(share)


@pytest.mark.parametrize(
    ("devices", "num_workers", "share"), [(0, 4, 0), (2, 2, 1), (2, 3, 0.5), (4, 6, 0.5), (1, 6, 0.1666)]
)
def test_shares_of_gpus_do_not_straddle(devices, num_workers, share):
    assert _share_of_devices(devices, num_workers) == pytest.approx(share)


def running():
    return [trial for study in all_studies(JournalStore()) for trial in study.trials if trial.state.name == "RUNNING"]
