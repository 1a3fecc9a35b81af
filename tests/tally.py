"""What a run of the tests came to: how many were found and run, and which were skipped and why.

A package that is missing skips tests, whole files of them, without an error. On a developer's
machine that may be; where `CI` is set it is a failure.
"""

import os
from typing import Any

import pytest

MISSING = "could not import"
"""What `pytest.importorskip` begins its reason with."""

collected = pytest.StashKey[set[str]]()
skipped = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[collected], config.stash[skipped] = set(), {}


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, as is the next
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    node.config.stash[collected].update(ids)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    node.config.stash[skipped].update(getattr(node, "workeroutput", {}).get("skipped", {}))


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[collected].update(item.nodeid for item in session.items)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:  # a whole file
        _note(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _note(report)


_notes: dict[str, str] = {}


def _note(report: pytest.CollectReport | pytest.TestReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    _notes[report.nodeid] = reason.removeprefix("Skipped: ")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take together what the processes noted; fail where a package was missing in CI."""
    config = session.config
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output["skipped"] = _notes
        return
    config.stash[skipped].update(_notes)
    missing = [name for name, why in config.stash[skipped].items() if why.startswith(MISSING)]
    if missing and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    skips = config.stash[skipped]
    stats, files = terminalreporter.stats, sum("::" not in name for name in skips)
    ran = sum(len(stats.get(kind, ())) for kind in ("passed", "failed", "xfailed", "xpassed"))
    terminalreporter.section("tally")
    terminalreporter.line(
        f"collected {len(config.stash[collected])}, run {ran}, skipped {len(skips) - files}, "
        f"files skipped whole {files}"
    )
    for name, why in sorted(skips.items()):
        terminalreporter.line(f"skipped {name}: {why}")
    if os.environ.get("CI") and any(why.startswith(MISSING) for why in skips.values()):
        terminalreporter.line("failed: in CI no test may be skipped for want of a package")
