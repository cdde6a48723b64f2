"""etcd, spoken to directly: over gRPC (``client``) and HTTP (``http``)."""
