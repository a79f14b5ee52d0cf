"""Beginnings of takes, made piece by piece."""

from longtake.pipelines.serve.library.open_beginnings import OpenBeginnings
from longtake.pipelines.serve.library.paths import CLIP, THUMBNAIL, fragment_name, preview_name

PIECES = [THUMBNAIL, fragment_name(0), preview_name(0), preview_name(1), fragment_name(1), preview_name(2), CLIP]


class Source:
    """Counts how often it is read from its beginning, and what is made of it."""

    def __init__(self):
        self.num_begun, self.made = 0, []

    def begin(self):
        self.num_begun += 1
        for name in PIECES:
            yield name, lambda name=name: self.made.append(name) or name.encode()


def test_a_call_makes_at_most_one_fragment_and_all_calls_make_everything_once_from_one_reading():
    beginnings, source, kept, calls = OpenBeginnings(max_open=1), Source(), {}, []
    while CLIP not in kept:
        calls.append(dict(beginnings.next("a", kept, source.begin)))
        kept |= calls[-1]
    assert [list(call) for call in calls] == [PIECES[:2], PIECES[2:5], PIECES[5:]]
    assert source.made == PIECES and source.num_begun == 1 and kept[CLIP] == CLIP.encode()


def test_another_writer_goes_on_where_one_stopped_and_makes_nothing_twice():
    one, other, source, kept = OpenBeginnings(max_open=1), OpenBeginnings(max_open=1), Source(), {}
    while CLIP not in kept:
        one, other = other, one
        kept |= dict(one.next("a", kept, source.begin))
    assert source.made == PIECES and source.num_begun == 2


def test_a_piece_that_is_lost_is_made_again_alone():
    beginnings, source = OpenBeginnings(max_open=1), Source()
    first = dict(beginnings.next("a", (), source.begin))
    assert dict(beginnings.next("a", (), source.begin)) == first  # its files were lost with the call
    kept = set(PIECES) - {fragment_name(1)}
    assert list(dict(beginnings.next("a", kept, source.begin))) == [fragment_name(1)]


def test_few_are_open_at_a_time():
    beginnings, sources = OpenBeginnings(max_open=2), [Source() for _ in range(3)]
    for source in sources:
        dict(beginnings.next(str(source), (), source.begin))
    for source in sources:
        assert list(dict(beginnings.next(str(source), PIECES[:2], source.begin))) == PIECES[2:5]
    assert len(beginnings._open) == 2 and sources[0].num_begun == 2
