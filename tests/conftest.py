"""Real components for tests. A missing program fails the test and says what gets it; nothing is skipped."""

from collections.abc import Generator, Iterator

import pytest

from drills.stack import EtcdCluster, Stack

STACKS = pytest.StashKey[list[Stack]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """After a failure the logs of the test's components stay, and the report says where."""
    report = yield
    if report.failed:
        for stack in stacks_of(item):
            stack.fail()
            report.sections.append(("Logs of the components", str(stack.logs)))
    return report


def stacks_of(item: pytest.Item) -> list[Stack]:
    """The stacks a test used, also when one of its fixtures failed."""
    shared = "session_stack" in getattr(item, "fixturenames", ())
    return [*item.stash.get(STACKS, []), *(item.session.stash.get(STACKS, []) if shared else [])]


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """An empty stack for one test."""
    with Stack() as stack:
        request.node.stash.setdefault(STACKS, []).append(stack)
        yield stack


@pytest.fixture(scope="session")
def session_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """What lives as long as the session: only for components that no test disturbs."""
    with Stack() as stack:
        request.session.stash.setdefault(STACKS, []).append(stack)
        yield stack


@pytest.fixture(scope="session")
def etcd(session_stack: Stack) -> EtcdCluster:
    """One member, shared by the session: a test keeps to a key prefix of its own and disturbs nothing."""
    return session_stack.etcd()


@pytest.fixture
def etcd3(stack: Stack) -> EtcdCluster:
    """Three members for this test alone."""
    return stack.etcd(members=3)


@pytest.fixture
def etcd3_tls(stack: Stack) -> EtcdCluster:
    """Three members with mutual TLS for this test alone."""
    return stack.etcd(members=3, tls=True)
