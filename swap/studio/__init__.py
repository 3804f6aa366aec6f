"""Rendered subjects: nobody's likeness, with pose, expression, light and truth known.

    family.py      what the families have in common: get_family, aligned faces, sets to train on
    heads/ ...     people who do not exist (MakeHuman's geometry, CC0, assets/)
    fruit/         an apple and a kiwi
    flags/         two flags in the wind
    live.py        sets that are rendered anew while a network is trained on them
    write.py       what `swap studio` writes
    raster.py      the z-buffer; noise.py, exact.py: noise and functions with the same bits on every machine

Kernels here are compiled by Numba, as those of nn/cpu are.
"""
