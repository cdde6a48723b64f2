"""Moves runs forward: files notifications, plans, claims, executes and verifies. Never in a web request."""
