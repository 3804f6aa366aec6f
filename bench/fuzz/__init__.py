"""Coverage-guided fuzzing of everything that reads what a stranger may send.

    python -m bench.fuzz records --minutes 10      the alignment records        swap/faces/records.py
    python -m bench.fuzz provenance --minutes 10   the marks of pictures        swap/provenance.py
    python -m bench.fuzz checkpoint --minutes 10   the checkpoint reader        nn/checkpoint.py
    python -m bench.fuzz commands --minutes 10     the command line, and pictures and videos behind it

It needs atheris (`pip install atheris`, Linux). What is a finding stands in targets.py: any exception but the
reader's own, an answer of more than one sentence, more than 5 seconds, more than 2 GiB. The inputs that
reached new code are kept, small, in corpus/TARGET.json; the tests run each of them without atheris, and
`--keep` writes the file anew after a longer hunt. FUZZ.md says how long was hunted, and what was found.
"""
