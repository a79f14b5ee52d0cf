"""Figures of the slow proofs: one line each in the file that CHAOS_FIGURES names (docs/results/chaos.jsonl)."""

import json
import os

import pytest


@pytest.fixture
def figure(request):
    """Prints measured values and appends them to the file."""

    def write(**figures):
        row = {"test": request.node.name, **figures}
        print(row)
        if "CHAOS_FIGURES" in os.environ:
            with open(os.environ["CHAOS_FIGURES"], "a") as file:
                file.write(json.dumps(row) + "\n")

    return write
