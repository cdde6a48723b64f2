"""What is known of all apiservers and of etcd's members at one moment: what the collector and the doctor tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ballast_exporter.stall_history import Told
from kube_ballast.analysis.stall import Judgement
from kube_ballast.analysis.stall_page import Progress


@dataclass(frozen=True, slots=True)
class ApiserverReport:
    """One apiserver: its verdict and what was measured, by probe.

    ``delivery`` is what watches on it heard; ``members`` are those that it asks, as HOST:PORT; ``page`` is what its own
    metrics said last, None where they are not read.
    """

    judgement: Judgement
    probes: Mapping[str, Told]
    delivery: Told
    members: tuple[str, ...]
    page: Progress | None

    @property
    def suspicious(self) -> bool:
        """Whether its own metrics speak of trouble, also where no probe does: not every resource is probed."""
        return self.page is not None and bool(self.page.words())


@dataclass(frozen=True, slots=True)
class Report:
    """``apiservers`` by HOST:PORT, ``members`` by HOST:PORT and probe; ``notes`` say what cannot be told and why.

    ``defragmenting`` is what the members say of that, those that say anything.
    """

    apiservers: Mapping[str, ApiserverReport]
    members: Mapping[str, Mapping[str, Told]]
    notes: tuple[str, ...] = ()
    defragmenting: Mapping[str, bool] = field(default_factory=dict)
