"""Playback of a video while it is made."""

from dataclasses import asdict
from itertools import pairwise

import pytest

from longtake.models.domain.extension import Extension
from longtake.models.domain.plan import Plan, PlanParams
from tests.end_to_end.browser.page_kit import status_of, wait_status
from tests.support.http_kit import PROMPT

pytestmark = pytest.mark.xdist_group("serve")
NO_MSE = "delete window.MediaSource; delete window.ManagedMediaSource;"
REFINED = """() => {  // numbers of the refined frames on the screen
    window.refined = [];
    const stage = document.getElementById("stage");
    const look = () => {
        if (stage.dataset.shown === "fine") refined.push(looks.head()[0]);
        requestAnimationFrame(look);
    };
    look();
}"""
SHOWS = """addEventListener("DOMContentLoaded", () => {
  const stage = document.getElementById("stage");
  window.shows = [];
  new MutationObserver(() => shows.push(stage.dataset.shown)).observe(stage, {attributeFilter: ["data-shown"]});
});"""
NO_HLS = "HTMLMediaElement.prototype.canPlayType = () => '';"


def test_the_first_picture_is_there_long_before_the_video_is(page, kit):
    video_id = page.make(num_frames=80)
    page.wait_shown("low")
    assert status_of(kit, video_id) == "in_progress"
    width, ready, played = page.tab.eval_on_selector("#low", "low => [low.videoWidth, low.readyState, low.currentTime]")
    assert (width, ready >= 2) == (16, True)
    page.tab.wait_for_function("before => document.getElementById('low').currentTime > before", arg=played)
    assert 40 <= page.grey("low") < 120
    assert status_of(kit, video_id) == "in_progress", "it has to play before the end"
    assert page.tab.inner_text("#badge") == "Preview 16 \u00d7 16"
    facts = page.tab.inner_text("#facts")
    assert "First picture after" in facts


def test_a_video_that_waits_says_its_place_in_the_queue(page, kit):
    with kit.client() as client:
        request = {"prompt": PROMPT, "num_frames": 480}
        before = [client.post("/v1/videos", json=request).json()["id"] for _ in range(4)]  # three are made at once
        page.make(num_frames=16)
        page.tab.wait_for_selector("#status:text-matches('^Number [0-9] in the queue.$')")
        assert "in the queue" in page.tab.inner_text("#leader-text")
        assert "%" not in page.tab.title() + page.tab.inner_text("#facts")
        said = page.tab.inner_text("#status")
        client.delete(f"/v1/videos/{before.pop()}")
        moved = "said => document.getElementById('status').textContent !== said"
        page.tab.wait_for_function(moved, arg=said, timeout=5000)
        page.tab.click("#actions button:text('Cancel')")
        page.wait_state("cancelled")
        for one in before:
            client.delete(f"/v1/videos/{one}")


def test_the_refined_picture_takes_over_at_the_same_frame(page, kit):
    video_id = page.make(num_frames=40, seed=1)  # of every fourth seed, H.264 makes the grey of frame 0 that of frame 1
    page.wait_state("completed")
    assert status_of(kit, video_id) == "completed"
    page.wait_shown("fine")
    assert page.tab.inner_text("#badge") == "Refined 32 \u00d7 32"
    page.tab.click("#play")
    for frame in (0, 17, 39):
        page.seek(frame)
        page.tab.check("input[value=auto]", force=True)
        page.wait_shown("fine")
        page.wait_grey("fine", frame)
        page.tab.check("input[value=low]", force=True)
        page.wait_shown("low")
        page.wait_grey("low", frame)


def test_the_timeline_fills_as_things_are_made(page):
    page.tab.evaluate("looks.watchTimeline()")
    page.make(num_frames=80)
    plan = Plan(80, PlanParams())
    page.wait_state("completed")
    seen = page.tab.evaluate("looks.filled")
    assert seen[-1] == [sum(span.start < 80 for span in plan.chunks), len(plan.windows), len(plan.segments)]
    for row in zip(*seen, strict=True):
        assert list(row) == sorted(row), "what is made does not go back"
        assert len(set(row)) >= 4, "it fills bit by bit"
    assert any(chunks > segments for chunks, _, segments in seen)
    page.wait_developed()
    assert page.tab.inner_text("#final-count") == f"{len(plan.segments)} / {len(plan.segments)} segments"


def test_the_playhead_goes_along(page):
    page.make(num_frames=40)
    page.wait_shown("low", "fine")
    page.tab.wait_for_function("() => Number(document.getElementById('seek').value) >= 8")
    frame, left, text = page.tab.evaluate("looks.head()")
    assert 100 * frame / 40 - 0.1 <= left <= 100 * (frame + 1) / 40 + 0.1
    assert text.startswith(f"frame {frame} of 40")


def test_cancel_stops_the_work_and_leaves_what_is_made(page, kit):
    video_id = page.make(num_frames=240)
    page.wait_shown("low", "fine")
    page.tab.click("#actions button:text('Cancel')")
    page.wait_state("cancelled")
    assert kit.takes.get(video_id).error[0] == "cancelled"
    assert page.tab.inner_text("#status") == "Cancelled. You can play the finished part."
    page.tab.reload()
    page.wait_state("cancelled")
    page.wait_shown("low", "fine")


def test_a_page_that_is_loaded_again_goes_on_with_the_video(page, kit):
    video_id = page.make(num_frames=80)
    page.tab.wait_for_function("() => document.querySelector('#segments i[data-state=done]')")
    page.tab.reload()
    page.wait_shown("low", "fine")
    assert page.id == video_id
    assert status_of(kit, video_id) == "in_progress", "it was loaded again too late to show anything"
    assert page.cells("segments").count("done") < 5
    page.wait_state("completed")
    assert set(page.cells("chunks") + page.cells("windows") + page.cells("segments")) == {"done"}
    assert "First picture after" in page.tab.inner_text("#facts"), "this tab has seen it"


def test_a_finished_video_is_shown_whole_in_another_tab(open_page, page, kit):
    """It opens with the refined picture, though the preview is there first."""
    video_id = page.make(num_frames=40)
    wait_status(kit, video_id, "completed")
    late = open_page(f"{kit.url}/#{video_id}", init=SHOWS)
    late.wait_shown("fine")
    late.wait_developed()
    assert set(late.cells("segments")) == {"done"}
    assert set(late.tab.evaluate("shows")) == {"", "fine"}


def test_while_the_preview_waits_it_goes_back_to_refined_frames(page, kit):
    video_id = page.make(num_frames=160, fps=60)  # played faster than it is made
    page.wait_shown("low")
    page.tab.evaluate(REFINED)
    page.wait_text("waiting", "Replay, now refined")
    assert page.shown == "fine"
    assert status_of(kit, video_id) == "in_progress"
    assert int(page.tab.input_value("#seek")) < 60
    page.wait_shown("low")  # it goes on with the preview behind the refined frames
    before = page.tab.evaluate("refined.splice(0)")
    page.wait_text("waiting", "Replay, now refined")
    page.tab.wait_for_function("() => refined.length")
    first = page.tab.evaluate("refined[0]")
    # Up to 3 skipped frames count as shown; more are still to be shown. A seek may land a frame early.
    seen = {frame for a, b in pairwise(sorted(set(before))) if b - a <= 4 for frame in range(a, b + 1)}
    assert len(seen) > 4 and not {first, first + 1} <= seen, "what was shown is not shown again"
    page.tab.click("#actions button:text('Cancel')")
    page.wait_state("cancelled")


def test_a_hidden_tab_closes_its_streams_and_reopens_them_when_shown(page):
    page.make(num_frames=72)
    page.wait_shown("low")
    page.tab.evaluate("looks.hide(true)")
    page.wait_state("completed")
    assert not page.tab.evaluate("looks.holds(9)")
    page.tab.evaluate("looks.hide(false)")
    page.wait_holds(9)


def test_a_later_prompt_is_asked_for_and_shown_at_its_frame(page, kit):
    page.tab.click("#add-cue")
    assert page.tab.input_value("#cues input") == "16"
    page.tab.fill("#cues textarea", "a circle moves")
    video_id = page.make(num_frames=40)
    assert [(cue.from_frame, cue.prompt) for cue in kit.takes.get(video_id).cues] == [(16, "a circle moves")]
    page.wait_state("completed")
    page.tab.click("#play")
    for frame, text in ((15, PROMPT), (16, "a circle moves")):
        page.seek(frame)
        page.wait_text("caption", text)


def test_without_media_source_it_plays_by_hls(open_page, kit):
    page = open_page(kit.url, init=NO_MSE)
    page.tab.wait_for_selector("#served:not(:empty)")
    video_id = page.make(num_frames=80)
    page.wait_shown("fine")
    assert status_of(kit, video_id) == "in_progress", "it has to play before the end"
    assert page.tab.get_attribute("#fine", "src") == f"/v1/videos/{video_id}/hls/playlist.m3u8"
    page.wait_state("completed")


def test_without_hls_too_it_plays_the_stream_and_then_the_file(open_page, kit):
    """A browser reads ahead before it shows anything; a toy's whole video is shorter than that."""
    page = open_page(kit.url, init=NO_MSE + NO_HLS)
    page.tab.wait_for_selector("#served:not(:empty)")
    video_id = page.make(num_frames=80)
    source = "src => document.getElementById('fine').getAttribute('src') === src"
    page.tab.wait_for_function(source, arg=f"/v1/videos/{video_id}/stream")
    assert status_of(kit, video_id) == "in_progress"
    page.wait_state("completed")
    page.tab.wait_for_function(source, arg=f"/v1/videos/{video_id}/content")
    page.wait_shown("fine")
    page.tab.wait_for_function("() => document.getElementById('fine').currentTime > 0.5")


def test_with_reduced_motion_playback_starts_by_hand(open_page, kit):
    page = open_page(kit.url, reduced_motion="reduce")
    page.tab.wait_for_selector("#served:not(:empty)")
    page.make(num_frames=40)
    page.wait_shown("low", "fine")
    page.tab.wait_for_timeout(400)
    assert page.tab.get_attribute("#play", "aria-label") == "Play"
    assert page.tab.input_value("#seek") == "0"
    page.tab.click("#play")
    page.tab.wait_for_function("() => Number(document.getElementById('seek').value) > 3")
    assert page.tab.evaluate("document.getAnimations().length") == 0


def test_the_page_cuts_a_video_as_the_plan_does(page):
    sizes = (PlanParams(), PlanParams(12, 4, 16, 4), PlanParams(8, 7, 5, 1))
    videos = [{"num_frames": n, "plan": asdict(one)} for one in sizes for n in (*range(1, 130), 480, 1201, 2400)]
    found = page.tab.evaluate(
        "async videos => { const {plan} = await import('./plan.js'); return videos.map(plan); }", videos
    )
    for video, cut in zip(videos, found, strict=True):
        n, plan = video["num_frames"], Plan(video["num_frames"], PlanParams(**video["plan"]))
        for name in ("chunks", "windows", "segments"):
            assert cut[name] == [[span.start, span.stop] for span in getattr(plan, name)], (n, name)


def test_the_page_cuts_the_continuation_of_an_uploaded_video_as_the_endpoint_does(page):
    extensions = [Extension(old, 40, PlanParams()) for old in (8, 9, 20, 24, 30, 95)]
    videos = [
        {"num_frames": one.num_old + 40, "plan": {**asdict(PlanParams()), "shift_frames": one.shift}}
        for one in extensions
    ]
    found = page.tab.evaluate(
        "async videos => { const {plan} = await import('./plan.js'); return videos.map(plan); }", videos
    )
    for one, cut in zip(extensions, found, strict=True):
        skipped = {"chunks": one.num_skipped_chunks, "windows": one.num_skipped, "segments": one.num_skipped}
        for name, count in skipped.items():
            spans = [one.shown(span) for span in getattr(one.plan, name)[count:]]
            assert cut[name] == [[span.start, span.stop] for span in spans], (one.num_old, name)
