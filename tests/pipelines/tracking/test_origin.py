import subprocess

import pytest

from longtake.pipelines.tracking import origin


@pytest.mark.parametrize("change", [False, True])
def test_a_changed_working_tree_is_called_dirty(tmp_path, monkeypatch, change):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "a.py").write_text("a = 1")
    subprocess.run([*git, "add", "a.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "a"], check=True)
    if change:
        (tmp_path / "a.py").write_text("a = 2")
    monkeypatch.setattr(origin, "HOME", tmp_path)
    assert origin.origin_tags("bulk")["git"].endswith("-dirty") == change


@pytest.mark.parametrize("broken", [False, True])
def test_without_a_working_tree_no_revision_is_made_up(tmp_path, monkeypatch, broken):
    if broken:
        (tmp_path / ".git").write_text("gitdir: nowhere")
    monkeypatch.setattr(origin, "HOME", tmp_path)
    assert "git" not in origin.origin_tags("bulk")
