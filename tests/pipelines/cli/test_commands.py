"""The flag --allow-pickle: every command that loads weights has it, and means the same."""

import argparse

import pytest

from longtake.pipelines.__main__ import _parser, main
from tests.support.pipelines import pickled

LATER = {  # a fault that is found after the weights
    "bulk": ("prompts=gone.txt", "out=o"),
    "serve": ("serve.keys_file=gone.txt",),
    "ablate": ("prompts=gone.txt", "out=o"),
    "train": ("manifest=gone.txt", "out=o"),
}


def test_every_command_that_loads_weights_has_it():
    (names,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    without = {name for name, parser in names.choices.items() if "--allow-pickle" not in parser.format_help()}
    assert without == {"plan", "convert"}  # a plan needs no weights, and a conversion opens one kind of pickle only


@pytest.mark.parametrize("command", LATER)
def test_pickles_are_refused_without_it_and_no_fault_with_it(
    copy_of_random_bundle, tmp_path, monkeypatch, capsys, command
):
    monkeypatch.chdir(tmp_path)
    pickled(copy_of_random_bundle / "unet")
    argv = [command, f"bundle={copy_of_random_bundle}", *LATER[command]]
    assert main(argv) == 2
    assert "unet has no .safetensors file, only .bin files" in capsys.readouterr().err
    assert main([*argv, "--allow-pickle"]) == 2
    assert "gone.txt" in (said := capsys.readouterr().err) and ".bin" not in said


def test_a_comparison_of_evaluations_has_no_use_for_it(tmp_path, capsys):
    assert main(["evaluate", "--compare", "a", "b", "out=o", "--allow-pickle"]) == 2
    assert "--allow-pickle has no effect with --compare" in capsys.readouterr().err
