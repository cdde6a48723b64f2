"""Certificates made on the fly."""

from collections.abc import Sequence
from pathlib import Path

import trustme

from kube_ballast.config import TLSFiles


class Authority:
    """A certificate authority with its files in one folder (0700); a second one is what nobody trusts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(
        self, name: str, *, organization: str | None = None, hosts: Sequence[str] = ("127.0.0.1", "localhost")
    ) -> TLSFiles:
        """A certificate for those hosts, good for servers and clients; `name` is its common name.

        etcd takes a client certificate's common name for the user's when authentication is on; so does Kubernetes,
        which takes the organization for the user's group.
        """
        leaf = self._ca.issue_cert(*hosts, common_name=name, organization_name=organization)
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        leaf.private_key_pem.write_to_path(key)
        for count, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(cert, append=count > 0)
        return TLSFiles(ca=self.ca, cert=cert, key=key)
