"""Settings of the C library's allocator, for processes that keep allocating and freeing large tensors."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Keeps freed blocks in the process instead of returning them to the kernel page by page.

    Twelve training steps of the refiner on one core: 36.9 s user and 11.0 s system before, 39.8 and 1.1 s with it, and
    a tenth of the page faults. Does nothing with other C libraries than glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
