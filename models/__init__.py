"""The pure core: the same arguments give the same result. No Ray, no network, no clock."""
