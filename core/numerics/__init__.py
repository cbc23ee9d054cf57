"""Tensors in; tensors or plain records out. Has never heard of nn.Module.

Names are imported from the modules (`from core.numerics.svd import spectrum`). Every module can be imported without
torch; only functions that take or make tensors load it.
"""

__all__ = ["conv", "diagnostics", "ranks", "svd", "whitening"]
