"""Apiservers' ways to etcd made sick, and what only looks like it, on real components, to see what is told of them."""
