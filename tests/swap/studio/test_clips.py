"""Clips of rendered heads: marked, of the right size, and faces to a detector."""

from swap.faces.detect import Detector
from swap.provenance import SourceType, read_mark
from swap.studio.clips import main
from swap.studio.heads import FRAME
from swap.video import probe, read_frames


def test_both_clips_are_written_marked_and_show_faces(tmp_path):
    assert main([str(tmp_path), "--frames", "4"]) == 0
    for subject in "ab":
        clip = tmp_path / f"{subject}.mp4"
        info = probe(clip)
        assert (info.height, info.width, info.frames) == (*FRAME, 4)
        mark = read_mark(clip)
        assert mark.source_type == SourceType.RENDERED
        assert mark.details["Subject"] == subject
        for frame in read_frames(clip):
            assert len(Detector().detect(frame.image)) == 1
    before = (tmp_path / "a.mp4").stat().st_mtime_ns
    main([str(tmp_path), "--frames", "4"])  # what is there is kept
    assert (tmp_path / "a.mp4").stat().st_mtime_ns == before
