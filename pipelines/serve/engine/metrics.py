"""Names and descriptions of the engine's metrics."""

DESCRIPTIONS = {
    "queued": "Videos waiting.",
    "running": "Videos in progress.",
    "base_calls": "Running calls of the base model.",
    "refiner_calls": "Running calls of the refiner.",
    "writer_calls": "Running calls that read, encode and write.",
    "waiting_frames": "Low-resolution frames waiting for the refiner.",
    "waiting_fragments": "Final segments waiting to be encoded.",
    "videos": "Videos in the library.",
    "size_bytes": "Total size of the library in bytes.",
    "completed": "Videos completed since the start.",
    "failed": "Videos failed since the start.",
    "cancelled": "Videos cancelled since the start.",
}
