import logging

from longtake.pipelines.train.split import _report


def test_what_reading_the_videos_changed_is_counted_by_kind(caplog):
    varies = "its frame rate varies: at {} fps, repeated frames 7, dropped 0 of 9"
    notes = [varies.format(24), f"{varies.format(30)}; it is transparent: white shows through", None]
    rows = [{"path": str(i), "clips": 1, "reason": None, "notes": note} for i, note in enumerate(notes)]
    with caplog.at_level(logging.INFO):
        _report(rows)
    assert caplog.messages[1:] == ["2 with a note: its frame rate varies", "1 with a note: it is transparent"]
