from longtake.pipelines.evaluate.report import chosen, report
from tests.support.evaluations import measured


def test_the_best_and_the_worst_are_chosen_and_the_page_escapes_what_it_shows(folder, tmp_path):
    evaluation = measured(folder, tmp_path / "out")
    rows = evaluation.rows()
    rows[0]["prompt"] = "<script>"
    groups = dict(chosen(rows))
    assert groups["Worst MAWE, published code"][0]["path"] == "2.mp4"
    curves = evaluation.curves([row["made_from"] for row in rows])
    page = report(rows, "note", {row["path"]: "shown/x.mp4" for row in rows}, curves)
    assert page.count("<script>") == 1 and page.count("&lt;script&gt;") >= 2  # the page has one script of its own
    assert "1 infinite" in page and "nan" not in page
