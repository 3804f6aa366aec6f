"""One training step, recorded: every number of it, and the products that made any one of them.

trace = nn.trace(model, x, nn.MSE(), target)      one forward and one backward pass, nothing is changed
trace.print()                                     a table in the terminal
trace.plot("step.png")                            the same as pictures
trace.html("step.html")                           a page to walk through, layer by layer, forward and backward
nn.explain(trace, "conv1.dw[1,2,0,5]")            the products whose sum is this number

record.py    runs the step and keeps its tensors
terms.py     which products make a number: the equations of nn/reference, one index at a time
table.py     the terminal;  plot.py  matplotlib;  page/  the page
"""

import nn.trace.kinds  # noqa: F401  what the numbers of the engine's layers are made of
from nn.trace.record import Call, End, Trace, trace
from nn.trace.terms import Term, Terms, explain, explains

__all__ = ["Call", "End", "Term", "Terms", "Trace", "explain", "explains", "trace"]
