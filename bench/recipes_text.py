"""The words of bench/RECIPES.md around its tables."""


def before() -> str:
    """What was asked, and what was found."""
    return """# What makes a swap right

A network with one encoder and two decoders is trained to reconstruct: A from A, B from B. Nothing in its losses asks
for a swap. On rendered subjects the swap has a right answer, so it can be asked what helps. `python -m bench recipes`
makes the tables below (bench/recipes.py, results in bench/results/recipes.json). All numbers are PSNR over the face in
dB, means over 128 held-out pictures and over the seeds; in brackets the lowest and highest seed. "Above the best
baseline" and "below own" are those of the worse direction.

## What was tried
"""


def after() -> str:
    """Why the winner wins, and what the tables do not show."""
    return """
## Why it works

1. **Standardise.** What all pictures of A share (skin, hair, wall) is the quickest way to tell A from B, and a shared
   encoder that can tell them apart may use its code differently for each. Taking each side's mean and deviation picture
   out of the *input* removes it; the target is left as it is, and the decoder starts from its side's mean picture.
2. **Round trips.** A decoder only ever sees codes of its own side's pictures. So some faces are swapped as the network
   stands, and the swapped picture must come back as the face that it was. The decoder of A is thereby trained on codes
   of pictures *of B*, with a known answer. It is back-translation, which is how machine translation learns from texts
   that are not translations of each other.
3. **Match.** Round trips alone let both sides agree on any exchange rate: half the smile there, twice the smile back.
   Equal means and covariances of the codes settle the rate. Matching alone also costs reconstruction; with round trips
   a little of it is enough.
4. **Soften.** A swapped picture is softer than a true one, and an encoder sees that at once. What a decoder learns on
   the way back of a round trip is then about soft pictures, and true ones have other codes. Shown through a blur of
   about a pixel, both look alike. It costs the reconstruction nothing: where things are and how they lie is in a soft
   picture, too. In 800 steps of `tiny` it makes no difference (see above); in the minutes of a demo fruit gains half a
   decibel.
5. **Still.** Turning, shifting and zooming faces at random stands in for more pictures. But then the code has to say
   how a picture was moved, A's and B's codes say it a little differently, and in a swap of a picture that was not moved
   at all, what is said is error. Rendered pictures lie exactly in their squares, so nothing needs to be learned of
   moves. A fruit has few pictures, and moved ones are worth more to it until step 1,000 (so in 800 steps there is no
   row for it); they lie still from step 1,800 on.
6. **Even.** A few hundred independent draws have chance in them. The kiwi of seed 0 was seen turned 3 degrees further
   to the left than the apple, on average, and that became the error of every swap: standardised, an apple at its mean
   looks like a kiwi at its own. So each training picture is the best of up to 24 draws, the one that brings the
   averages of all parameters, of their products and of some third powers nearest to what they are in general
   (`swap/studio/even.py`). Mere pairs of opposites, which have the right mean and nothing else, made swaps of fruit
   worse: every pose is then there twice, and half as many different ones.

## What is left

`twins` is no method, it is a question: what if B's training pictures showed the very same as A's, unpaired? All that
changes is that both sides' means and covariances are then equal, not only expected to be. What it gains on `softened`
is what it costs that each side is a small sample of its own. No loss on moments can win that back: it would have to
know which differences are chance. Drawing evenly wins back a part before the first step; for recordings, it says that
more and more varied pictures of both sides are worth more than any loss.

`transport` gives the encoder's inputs of both sides one mean and one covariance before it sees them. Fruit gains a
quarter of a decibel by it in 800 steps and nothing in 2,500, heads nothing: it is no part of the recipe.

Mirroring is right for faces and wrong for flags: where one side of the picture is always the hoist, mirrored pictures
are half of what the codes are matched on, and the matching is then that of pictures nobody asks for.
"""
