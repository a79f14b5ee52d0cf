"""How the C library keeps memory, for processes that allocate and free large tensors without end."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Freed blocks stay with the process instead of going back to the kernel, page by page, to be asked for again.

    Twelve training steps of the refiner on one core: 36.9 s user and 11.0 s system before, 39.8 and 1.1 s with it, and
    a tenth of the page faults. Where the C library is another one than glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
