"""Slow proofs leave figures: a line of docs/results/chaos.jsonl each, when CHAOS_FIGURES names it."""

import json
import os

import pytest


@pytest.fixture
def figure(request):
    """Writes down what was measured."""

    def write(**figures):
        row = {"test": request.node.name, **figures}
        print(row)
        if "CHAOS_FIGURES" in os.environ:
            with open(os.environ["CHAOS_FIGURES"], "a") as file:
                file.write(json.dumps(row) + "\n")

    return write
