"""Faults brought about on purpose, and the invariants that have to survive them."""
