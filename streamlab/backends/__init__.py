"""SOURCE: one module per URL scheme; `base.py` is the contract they all keep."""
