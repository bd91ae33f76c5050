"""SOURCE: one package per kind of broker; `base.py` is the contract they all keep."""
