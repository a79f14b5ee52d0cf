"""Charts of a comparison, read back from matplotlib's objects."""

from longtake.pipelines.ablation.plots import DECIDED, SHOWN, UNDECIDED, differences, orders


def rows(**variants):
    return [
        {"variant": name.replace("_", "-"), "index": i, "scuts": value, "flow_std": value + 1, "curve": [1.0, value]}
        for name, values in variants.items()
        for i, value in enumerate(values)
    ]


def dots(chart):
    """(x, lane, colour) of every estimate."""
    return [(*line.get_xydata()[0], line.get_color()) for line in chart.lines if line.get_marker() == "o"]


def test_a_chart_per_metric_has_a_lane_per_variant_and_grey_where_nothing_is_decided():
    figure = differences(rows(full=[0] * 6, no_cam=[3] * 6, no_apm=[1, -1] * 3))
    shown = [chart for chart in figure.axes if chart.axison]
    assert [chart.get_title(loc="left") for chart in shown] == [
        "scene cuts (SCuts)",
        "standard deviation of flow magnitude, px",
    ]
    assert len(shown) <= len(SHOWN)
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["no-cam", "no-apm"]  # for the whole line
    for chart in shown:
        assert dots(chart) == [(3, 0, DECIDED), (0, 1, UNDECIDED)]


def test_five_prompts_decide_nothing():
    figure = differences(rows(full=[0] * 5, no_cam=[3] * 5))
    assert dots(figure.axes[0]) == [(3, 0, UNDECIDED)]


def test_an_order_is_drawn_if_all_its_variants_are_there():
    order = {"independent": [4, 4], "shared_noise": [3, 3], "symmetric": [2, 2]}
    assert orders(rows(full=[1, 1], independent=[4, 4]), [2]) is None
    over_time, spread = orders(rows(full=[1, 1], **order), [2]).axes
    assert [line.get_label() for line in over_time.lines[1:]] == ["full", "independent", "shared-noise", "symmetric"]
    assert over_time.lines[-1].get_xydata().tolist() == [[1, 1], [2, 2]] and over_time.lines[0].get_xdata() == [2, 2]
    assert [x for x, *_ in dots(spread)] == [2, 5, 4, 3]


def test_the_charts_leave_the_global_state_of_pyplot_alone(tmp_path):
    from matplotlib import pyplot

    differences(rows(full=[0] * 6, no_cam=[3] * 6)).savefig(tmp_path / "a.png")
    assert pyplot.get_fignums() == [] and (tmp_path / "a.png").stat().st_size > 1000
