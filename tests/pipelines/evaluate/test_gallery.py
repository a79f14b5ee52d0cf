from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from longtake.pipelines.evaluate.gallery import GalleryVideo, gallery, write_gallery


class _Page(HTMLParser):
    """The tags of a page in order, and what stands between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, name: str) -> list[str]:
        return [value for found, attrs in self.tags if found == tag and (value := attrs.get(name))]


def _video(folder: Path, prompt: str = "a red circle", name: str = "a") -> GalleryVideo:
    return GalleryVideo(
        prompt, folder / f"{name}.mp4", 80, 8, 4.21, 2.345, 7, folder / f"{name}-low.mp4", folder / f"{name}.png"
    )


def test_each_video_stands_beside_its_preview_with_its_figures_and_its_sheet(tmp_path):
    page = _Page(gallery([_video(tmp_path, "a red circle", "a"), _video(tmp_path, "a blue star", "b")], tmp_path))
    assert page.all("video", "src") == ["./a.mp4", "./a-low.mp4", "./b.mp4", "./b-low.mp4"]
    assert page.all("img", "src") == ["./a.png", "./b.png"]
    text = " ".join(page.texts)
    for words in ("a red circle", "a blue star", "80 frames, 10.0 s at 8 fps", "4.2 s", "2.3 s"):
        assert words in text


def test_videos_play_on_their_own_also_on_a_phone(tmp_path):
    for tag, attrs in _Page(gallery([_video(tmp_path)], tmp_path)).tags:
        if tag == "video":
            assert {"autoplay", "muted", "loop", "playsinline"} <= set(attrs)


def test_a_prompt_is_text_and_never_markup(tmp_path):
    prompt = 'a "star" <script>alert(1)</script> & {more}'
    page = _Page(gallery([_video(tmp_path, prompt)], tmp_path, title="<b>", note="a & b"))
    assert prompt in page.texts and "<b>" in page.texts and "a & b" in page.texts
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.all("video", "aria-label")[0] == f"Refined video: {prompt}"


def test_links_are_relative_and_survive_odd_names(tmp_path):
    folder = tmp_path / "de mo"
    page = _Page(gallery([_video(folder / "videos", name='50% #1?"ü')], folder))
    (link, _), root = page.all("video", "src"), "./videos/"
    assert link.startswith(root) and not set('#?" ') & set(link)
    assert unquote(link) == './videos/50% #1?"ü.mp4'


def test_a_video_without_preview_sheet_and_seed_stands_alone(tmp_path):
    page = _Page(gallery([GalleryVideo("a red circle", tmp_path / "a.mp4", 80, 8, 4, 2)], tmp_path))
    assert page.all("video", "src") == ["./a.mp4"]
    assert page.all("img", "src") == [] and "Seed" not in page.texts


def test_the_page_asks_for_nothing_but_its_own_files_and_knows_light_and_dark(tmp_path):
    path = write_gallery(tmp_path / "index.html", [_video(tmp_path)], "Longtake", "Four prompts.")
    html = path.read_text(encoding="utf-8")
    assert "http:" not in html and "https:" not in html and "<link" not in html and "@import" not in html
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html
    assert html.startswith("<!doctype html>")
