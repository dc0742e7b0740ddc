"""Where all tests should run, as on CI, one that is skipped has failed: `--no-skips`."""

import pytest

ALLOWED_SKIPS = (
    "no CUDA device on this machine",
    "a disk of its own cannot be mounted for a process here",  # the system allows no namespaces to its users
    "a process without a network cannot be started here",
    "this user may read any file",  # root
    "the npm registry cannot be reached",
    "npm is not on the PATH",
    "not installed; `make bench` does",
)
"""Why a test may be skipped where `--no-skips` is given: what the machine is, not what it lacks."""


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="fail where a test is skipped that should run, as CI does")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    return without_skip(report) if item.config.getoption("no_skips") else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    return without_skip(report) if collector.config.getoption("no_skips") else report


def without_skip(report):
    """The report, failed where it is of a skip that is not allowed."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            report.outcome, report.longrepr = "failed", f"{reason}: this test should run"
    return report
