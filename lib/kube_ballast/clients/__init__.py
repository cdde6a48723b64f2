"""Everything that talks to another process: the only place where HTTP and gRPC are spoken."""
