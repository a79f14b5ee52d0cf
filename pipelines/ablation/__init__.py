"""The ablation: variants and baselines on the same prompts and seeds, and the claims they support."""
