"""The limit of the cache, which is kept while it grows."""

from ssl_registry.data.cache.store import Store, cache_limit


class CacheBudget:
    """Keeps the cache within its limit while it grows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.limit = cache_limit()
        self.total = sum(image.size for image in store.kept()) if self.limit is not None else 0
        self.next = self.limit or 0
        self.spend(0)

    def spend(self, size: int) -> None:
        """Count `size` bytes more, and make room where they are too many."""
        self.total += size
        if self.limit is not None and self.total > self.next:
            self.total -= sum(image.size for image in self.store.remove(self.limit))
            # Where all is in use, a look at every single image would find it so.
            self.next = max(self.limit, self.total + self.limit // 20)
