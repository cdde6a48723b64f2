"""What Ballast's programs share: clients of etcd, Prometheus and Alertmanager, and pure analysis."""

__version__ = "0.1.0.dev0"
