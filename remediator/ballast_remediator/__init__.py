"""Takes Alertmanager's alerts and runs approved runbooks, safely."""
