"""Embeddings on disk: every epoch passes a frozen encoder once.

Ask for it with ``cache=`` of :class:`eegfound.FoundationTransformer`; look at
it with ``eegfound cache``. Neither torch nor an encoder is imported here.
"""

from eegfound.cache.place import CacheWarning, default_place, size_bound
from eegfound.cache.report import cache_info, clear_cache, verify_cache

__all__ = [
    "CacheWarning",
    "cache_info",
    "clear_cache",
    "default_place",
    "size_bound",
    "verify_cache",
]
