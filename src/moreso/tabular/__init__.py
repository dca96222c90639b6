"""Tables: files, dtypes, encodings, and the view of columns that audits and models share.

Names are loaded on first use, so that reading a file needs only pandas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
