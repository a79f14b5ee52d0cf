"""Folders that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the checkout
SHARED = ROOT.parent / "shared"  # vectors and key tables of the published networks, beside the checkout
REPORTS = Path(__file__).parent / "reports"  # files of the kinds that real users brought
