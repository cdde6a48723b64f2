"""Shows what today's monitoring of a control plane is blind to."""
