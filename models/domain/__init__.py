"""The nouns of the system and its scheduler: spans, plans, prompts, tasks. No torch."""
