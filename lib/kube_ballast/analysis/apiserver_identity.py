"""Tells an apiserver's own address from a load balancer's, by the process that answers there. Pure.

No metric names the apiserver. Two pages are of one process when it started at the same time
(``process_start_time_seconds``, to a hundredth of a second) and the later one counts no kind of request lower: the
start alone does not do, since apiservers that were started by one command do share it.

An address at which the process changes may be that of an apiserver that was restarted; when one comes back that had
been followed by another there, the address is certainly not one apiserver's own. Two addresses with one process are
one apiserver.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from kube_ballast.analysis.apiserver_requests import Tally

_REMEMBERED = 8
"""Processes a URL, of each its last page: more than there are apiservers in a cluster."""


class Identities:
    """Who answered where."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Tally]] = {}
        self._balancers: dict[str, str] = {}

    def unusable(self, pages: Mapping[str, Tally]) -> dict[str, str]:
        """The URLs of which nothing may be told, and why, given what was read there now, in the order they are listed.

        One that proved to be a load balancer stays one: its counters would be those of different processes in turn.
        """
        before = {url: self._seen[url][-1] for url in pages if url in self._seen}
        for url, page in pages.items():
            self._remember(url, page)
        why = {url: self._balancers[url] for url in pages if url in self._balancers}
        kept: list[str] = []
        # Where several have the same process, an address that has always had it is believed to be its own, and else
        # the one that is listed first.
        for url in sorted((each for each in pages if each not in why), key=lambda each: len(self._seen[each])):
            first = next((each for each in kept if _one_process(each, url, pages, before)), None)
            if first is None:
                kept.append(url)
            else:
                why[url] = (
                    f"the same apiserver as {first} ({_start(pages[url])}), counted there; "
                    "list each apiserver once, by its own address and not a load balancer's"
                )
        return why

    def _remember(self, url: str, page: Tally) -> None:
        seen = self._seen.setdefault(url, [])
        known = next((each for each in reversed(seen) if _continues(each, page)), None)
        if known is not None:
            if known is not seen[-1]:
                self._balancers[url] = (
                    f"a load balancer: different apiservers answer there in turn (one {_start(page)}, "
                    f"one {_start(seen[-1])}); list each apiserver by its own address"
                )
            seen.remove(known)
        seen.append(page)
        del seen[:-_REMEMBERED]


def _continues(old: Tally, new: Tally) -> bool:
    """Whether ``new`` can be a later page of the process that gave ``old``."""
    return old.started == new.started and all(new.requests.get(key, 0) >= count for key, count in old.requests.items())


def _one_process(one: str, other: str, pages: Mapping[str, Tally], before: Mapping[str, Tally]) -> bool:
    """Whether both addresses lead to the same process.

    Pages read side by side are not comparable, as one may be ahead here and the other there; those of the last look
    are older than both. At the first look there is nothing better.
    """
    if pages[one].started != pages[other].started:
        return False
    older = [(before.get(a), pages[b]) for a, b in ((one, other), (other, one))]
    comparable = [_continues(old, new) for old, new in older if old is not None and old.started == new.started]
    if comparable:
        return all(comparable)
    return _continues(pages[one], pages[other]) or _continues(pages[other], pages[one])


def _start(page: Tally) -> str:
    assert page.started is not None, "only pages of apiservers are looked at"
    return f"started {datetime.fromtimestamp(page.started, UTC):%Y-%m-%d %H:%M:%S} UTC"
