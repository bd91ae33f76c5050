"""The I/O loop thread, and the bridge to the notebook."""
