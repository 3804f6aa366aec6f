// What is said beside the pictures: a sentence or two where the eye already is.

const SAYS = {
  conv2d: {
    forward: "A small kernel slides over the picture. One number of y is the kernel at one place: each tap times the " +
      "pixel beneath it, over all channels, added up. The same w is used at every place.",
    backward: "A tap of w was used once at every place of every picture, so its gradient sums x times dy over all of " +
      "them; b was added at each, so db sums dy alone. A pixel of x reached every output whose window covered it: dx " +
      "collects their dy, each through the tap that met the pixel.",
  },
  dense: {
    forward: "Every output is a weighted sum of every input of the same example.",
    backward: "w[i,o] was used once for each example, so its gradient sums over the batch; so was b[o], therefore db " +
      "sums dy over the batch. x[i] reached every output: dx collects the dy of all of them, through the weights.",
  },
  relu: {
    forward: "What is above 0 passes; what is below is cut off, or made small. Without such a bend, two layers in a " +
      "row would be no more than one.",
    backward: "The gradient passes where x was above 0, and is scaled by the slope elsewhere. The sign of x must be " +
      "known for that, so it is kept from the way forward.",
  },
  sigmoid: {
    forward: "Any number becomes one between 0 and 1.",
    backward: "The slope y (1 - y) is 1/4 at most and nearly 0 where y is near 0 or 1: there, little gets through.",
  },
  tanh: {
    forward: "Any number becomes one between -1 and 1.",
    backward: "The slope 1 - y\u00b2 is 1 at most and nearly 0 where y is near -1 or 1: there, little gets through.",
  },
  shuffle: {
    forward: "Channels become pixels: the numbers of a pixel's channels are laid out as a small square. Every number " +
      "is moved, none is changed.",
    backward: "Every number is moved back to where it came from, so each dx is one dy.",
  },
  reshape: {
    forward: "The same numbers in the same order under another shape.",
    backward: "The same numbers in the same order, under the shape that x had.",
  },
  "": {
    forward: "A layer of your own: its tensors are here, but what its numbers are sums of is not known to this page.",
    backward: "A layer of your own: its tensors are here, but what its numbers are sums of is not known to this page.",
  },
};

const LOSS_SAYS = "The step turns round here. The loss is one number; dy says for each output how much the loss would " +
  "rise if that output rose a little. From here every layer hands such numbers back.";

const WHAT = {
  x: "what comes in",
  y: "what goes out",
  w: "weights",
  b: "bias",
  dy: "comes back",
  dx: "handed on",
  dw: "how the loss rises with w",
  db: "how the loss rises with b",
  target: "what should come out",
};

// Why a number is the sum that it is.
const WHY = {
  conv2d: {
    y: "The window of x and the taps of w that were multiplied are outlined in the pictures.",
    dx: "One pixel, many outputs: each output whose window covered it sends its dy back through the tap it used. " +
      "Shares that meet are added.",
    dw: "One tap, many places: w is shared by all places and all pictures of the batch, so each of them adds x times dy.",
    db: "b was added once at every place of every picture, each time with factor 1: so its gradient is the plain sum of dy.",
  },
  dense: {
    y: "The row of x and the column of w that were multiplied are outlined in the pictures.",
    dx: "This input reached every output, so it collects what comes back from each, through the weight it took.",
    dw: "One product for each example of the batch, because the weight was used once for each.",
    db: "b was added once for each example, each time with factor 1: so its gradient is the plain sum of dy.",
  },
  relu: { y: "One number in, one number out.", dx: "The chain rule in its smallest form: dy times the slope." },
  sigmoid: { y: "A function of one number, no sum.", dx: "The chain rule in its smallest form: dy times the slope." },
  tanh: { y: "A function of one number, no sum.", dx: "The chain rule in its smallest form: dy times the slope." },
  shuffle: { y: "Moved, not changed.", dx: "Moved back, not changed." },
  reshape: { y: "The same number under another index.", dx: "The same number under another index." },
};
const WHY_SHARED = "The chains used the same number, so moving it moves all their losses: the gradients are added. Nothing " +
  "is averaged, and no chain overwrites another.";
const WHY_LOSS = "The loss is a mean over all outputs: each adds its own share.";
const WHY_TOTAL = "The step has one loss for each chain, and they are added: so are the gradients of what both use.";
const WHY_END = "Each output has its share of the mean, so its gradient carries the factor 1 / M.";
