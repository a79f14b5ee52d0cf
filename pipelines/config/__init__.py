"""Settings: text into frozen dataclasses, checked before anything heavy is imported."""
