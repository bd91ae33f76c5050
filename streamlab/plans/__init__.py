"""TRANSFORM, as values: what is to be done, never how far it is."""
