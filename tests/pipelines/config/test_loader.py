"""Settings from text: accepted values, and the text of each refusal."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.pipelines.config.loader import compose


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    steps: int = 4
    scale: float = 1.0
    limit: float | None = 2.0
    colour: Colour = Colour.RED
    sizes: tuple[int, ...] = (8, 16)
    pair: tuple[int, str] = (1, "a")

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be >= 1")


@dataclass(frozen=True)
class Outer:
    name: str = "tiny"
    note: str | None = None
    flag: bool = False
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Needy:
    must: int


@pytest.fixture
def write(tmp_path: Path):
    def write_text(text: str) -> Path:
        path = tmp_path / "some.yaml"
        path.write_text(text, "utf-8")
        return path

    return write_text


def test_an_empty_file_gives_the_defaults(write):
    assert compose(Outer, write("")) == Outer()


def test_the_override_wins_over_the_file_and_the_file_over_the_default(write):
    path = write("name: a\ninner:\n  steps: 5\n  scale: 2\n")
    conf = compose(Outer, path, ["inner.steps=6"])
    assert (conf.name, conf.inner.steps, conf.inner.scale, conf.inner.limit) == ("a", 6, 2.0, 2.0)
    assert isinstance(conf.inner.scale, float)


def test_the_last_of_two_overrides_wins(write):
    assert compose(Outer, write(""), ["inner.steps=6", "inner.steps=7"]).inner.steps == 7


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("inner.scale=1e-3", Inner(scale=1e-3)),
        ("inner.limit=null", Inner(limit=None)),
        ("inner.limit=none", Inner(limit=None)),
        ("inner.limit=3", Inner(limit=3.0)),
        ("inner.colour=blue", Inner(colour=Colour.BLUE)),
        ("inner.sizes=[1, 2, 3]", Inner(sizes=(1, 2, 3))),
        ("inner.pair=[3, b]", Inner(pair=(3, "b"))),
    ],
)
def test_values_become_the_type_of_their_key(write, override, expected):
    assert compose(Outer, write(""), [override]).inner == expected


@pytest.mark.report("C10")
@pytest.mark.parametrize(("text", "number"), [("010", 10), ("0123", 123), ("08", 8), ("+7", 7), ("1_000", 1000)])
def test_a_number_with_a_leading_zero_is_decimal_as_people_mean_it(write, text, number):
    assert compose(Outer, write(""), [f"inner.steps={text}"]).inner.steps == number
    assert compose(Outer, write(""), [f"inner.scale={text}"]).inner.scale == number
    assert compose(Outer, write(f"inner: {{sizes: [{text}]}}")).inner.sizes == (number,)


@pytest.mark.report("C10")
def test_a_number_with_a_colon_is_no_number(write):
    with pytest.raises(ValueError, match="inner.steps=1:30 must be a whole number, not text"):
        compose(Outer, write(""), ["inner.steps=1:30"])
    with pytest.raises(ValueError, match="inner.scale=1:30.5 must be a finite number"):
        compose(Outer, write(""), ["inner.scale=1:30.5"])


@pytest.mark.parametrize("text", ["123", "yes", "null", "a=b", "[x"])
def test_text_stays_the_text_that_was_typed(write, text):
    assert compose(Outer, write(""), [f"name={text}"]).name == text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["inner.step=3"], "inner.step=3 is not a setting; did you mean inner.steps? known here: steps, scale"),
        (["iner.steps=3"], "did you mean inner? known here: name, note, flag, inner"),
        (["zzz=1"], "zzz=1 is not a setting; known here: name"),
        (["inner.steps=many"], "inner.steps=many must be a whole number, not text"),
        (["inner.steps=2.5"], "inner.steps=2.5 must be a whole number, not a float"),
        (["inner.steps=true"], "inner.steps=True must be a whole number, not true or false"),
        (["inner.steps="], "inner.steps= is empty: it needs a value"),
        (["name="], "name= is empty: it needs a value"),
        (["name= "], "name=  is empty: it needs a value"),
        (["note="], "note= is empty: it needs a value, or null for none"),
        (["flag="], "flag= is empty: it needs a value"),
        (["inner.scale="], "inner.scale= is empty: it needs a value"),
        (["inner.colour="], "inner.colour= is empty: it needs a value"),
        (["inner.sizes="], "inner.sizes= is empty: it needs a value"),
        (["inner="], "inner= is empty: it needs a value"),
        (["inner.steps=0"], "inner.steps=0 must be >= 1"),
        (["inner.scale=big"], "inner.scale=big must be a finite number"),
        (["inner.scale=nan"], "inner.scale=nan must be a finite number"),
        (["inner.scale=.inf"], "inner.scale=inf must be a finite number"),
        (["inner.scale=true"], "inner.scale=True must be a finite number"),
        (["inner.colour=green"], "inner.colour=green must be one of red, blue"),
        (["inner.sizes=3"], "inner.sizes=3 must be a list, not a int"),
        (["inner.sizes=[1, x]"], "inner.sizes[1]=x must be a whole number, not text"),
        (["inner.pair=[1]"], "must have 2 values, not 1"),
        (["inner.sizes=[1"], "inner.sizes=[1 is not a valid YAML value"),
        (["flag=1"], "flag=1 must be true or false, not a int"),
        (["inner=3"], "inner=3 is a section; set one of its keys: inner.KEY=value"),
        (["name.x=3"], "name={'x': '3'} must be text, not a section"),
        (["inner.steps"], "override='inner.steps' must look like section.key=value"),
        (["=3"], "must look like section.key=value"),
        ([".steps=3"], "must look like section.key=value"),
    ],
)
def test_a_refusal_names_key_value_and_rule(write, overrides, message):
    with pytest.raises(ValueError) as error:
        compose(Outer, write(""), overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\ninner: [1\n", "some.yaml:3 is not valid YAML"),
        ("name: a\n\tx: b\n", "some.yaml:2 is not valid YAML"),
        ("name: a\nname: b\n", "some.yaml:2 is not valid YAML: duplicate key 'name'"),
        ("- a\n- b\n", "must hold lines of key: value, not a list"),
        ("just words", "must hold lines of key: value, not text"),
        ("name: !!python/object/apply:os.getcwd []", "is not valid YAML"),
        ("name: \x01", "is not valid YAML"),
        ("1: 2", "1=2 is not a setting"),
        ("name: 3", "name=3 must be text, not a int"),
    ],
)
def test_a_bad_file_is_named_with_its_line(write, text, message):
    with pytest.raises(ValueError) as error:
        compose(Outer, write(text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml cannot be read: No such file"):
        compose(Outer, tmp_path / "nowhere.yaml")
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        compose(Outer, tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a text file"):
        compose(Outer, tmp_path / "binary")


def test_a_setting_without_default_must_be_given(write):
    assert compose(Needy, write("must: 3")).must == 3
    with pytest.raises(ValueError, match="must is missing: it has no default"):
        compose(Needy, write(""))


@given(st.text())
def test_any_override_is_taken_or_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "empty.yaml"
    path.write_text("")
    for override in (text, f"inner.steps={text}", f"inner.sizes={text}", f"{text}=1", f"note={text}"):
        try:
            compose(Outer, path, [override])
        except ValueError as error:
            assert str(error)
