"""A cluster's apiserver: ordinary calls, lists in pages, watches.

    NODES = Collection("/api/v1/nodes", Node)

    kubernetes = Kubernetes(KubernetesConfig(kubeconfig="admin.conf"))
    listing = kubernetes.list(NODES, timeout=30)
    for news in follow(kubernetes, NODES, stop=stop):
        ...

Only kubeconfigs are left to the `kubernetes` package. Its calls have no end that holds (a timeout of urllib3 counts
anew with each byte), and its models cost ten times the memory of what is read here.
"""

from kube_ballast.clients.kubernetes.client import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH, Kubernetes
from kube_ballast.clients.kubernetes.failures import TooManyRequests
from kube_ballast.clients.kubernetes.types import (
    Broken,
    Changed,
    Collection,
    Current,
    Listing,
    ObjectMeta,
    Page,
    PartialObjectMetadata,
)
from kube_ballast.clients.kubernetes.watch import News, follow

__all__ = [
    "APPLY_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_PATCH",
    "Broken",
    "Changed",
    "Collection",
    "Current",
    "Kubernetes",
    "Listing",
    "News",
    "ObjectMeta",
    "Page",
    "PartialObjectMetadata",
    "TooManyRequests",
    "follow",
]
