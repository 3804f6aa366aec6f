"""From a video to aligned faces and back: detect, align, extract; records of where each was."""
