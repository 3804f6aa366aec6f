"""Rendered subjects: faces that are nobody's, whose pose, expression and light are known.

    heads.py      render(subject, Params, size) -> picture; landmarks(subject, Params, ...) -> where its features lie
    walks.py      walk(frames, seed) -> Params of a clip: a smooth random walk of pose, gaze, blinks and mouth
    clips.py      clips of two subjects, as `make demo` uses them

The geometry is MakeHuman's (CC0, assets/). Kernels here are compiled by Numba, as those of nn/cpu are.
"""
