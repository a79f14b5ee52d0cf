"""The drawing of a plan."""

from longtake.pipelines.__main__ import main


def test_plan_draws_the_pieces(capsys):
    assert main(["plan", "--num-frames", "40"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "40 frames: 4 chunks, 2 windows and segments",
        "frames    0       8       16      24      32      40",
        "chunks    |---------------|-------|-------|-------|",
        "windows   |-----------------------|",
        "                          |-----------------------|",
        "segments  |---------------|-----------------------|",
    ]


def test_plan_cuts_the_drawing_of_a_long_video_but_not_its_counts(capsys):
    assert main(["plan", "--num-frames", "1200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1200 frames: 150 chunks, 75 windows and segments, drawn up to frame ")
    assert max(map(len, lines)) <= 110
