"""DECODE: one module per format; `base.py` is the contract they all keep."""
