"""Settings and folders of models: text into frozen dataclasses, checked before anything heavy is imported."""
