"""Where statements come from: questions for an expert (`ask`), and drawings (`derive`).

Names are loaded on first use, since `derive` needs no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
