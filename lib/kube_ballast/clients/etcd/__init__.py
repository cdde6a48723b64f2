"""etcd, spoken to directly: over gRPC (``client``) and HTTP (``http``)."""

import os

# gRPC's core writes to stderr by itself, past every logger. All of it comes back in the errors that the client raises.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
