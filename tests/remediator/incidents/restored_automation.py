"""A package manager that restores what people had switched off: Reddit, 11 August 2016.

ZooKeeper was migrated, and since the autoscaler reads from it, people shut the autoscaler off by hand. The package
management system noticed a manual change and reverted it. The autoscaler read the half migrated data and terminated
many application and cache servers within 16 seconds; the site was down for an hour and a half.

Here somebody works on a cluster, has said so, and has set the policy to shadow. The configuration management restores
the policy and starts the program again.

Source: https://www.reddit.com/r/announcements/comments/4y0m56/why_reddit_was_down_on_aug_11/
"""

from pathlib import Path

from ballast_remediator.contract import Mode, StopKind
from ballast_remediator.guards.nobody_is_at_work import nobody_is_at_work
from ballast_remediator.store import stops
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk
from tests.remediator.incidents.incident import Outcome, guard, let_it_run
from tests.remediator.standing import policy

STOPPED_BY = (guard(nobody_is_at_work),)


def happens(folder: Path) -> Outcome:
    with Store(folder / "remediator.db") as store:
        store.write(stops.put, StopKind.FREEZE, cluster="here", person="anna", reason="ZooKeeper moves")
        switched_off = Desk(store, rules=policy(Mode.SHADOW))
        switched_off.answer()
    with Store(folder / "remediator.db") as store:
        restored = Desk(store, rules=policy(Mode.AUTO))
        restored.receive()
        return let_it_run(restored)
