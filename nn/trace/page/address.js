// The address of the page says which state and which number are shown: #back/a:encoder.conv1/dw[1,2,0,5]

function address(step, number) {
  const { go: way, call, end } = steps[step];
  const parts = [way, encodeURIComponent(call ? call.label : end.chain)];
  if (number) {
    const from = number.shared ? "sum:" : number.chain ? `${encodeURIComponent(number.chain)}:` : "";
    parts.push(from + (isLoss(number) ? number.letter : nameOf(number.letter, number.index)));
  }
  return `#${parts.join("/")}`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// What an address says; the first state where it says nothing that is here.
function read(hash) {
  const [way, label = "", text = ""] = hash.slice(1).split("/").map(decoded);
  const step = steps.findIndex((s) => s.go === way && (s.call ? s.call.label : s.end.chain) === label);
  if (step < 0) return { step: 0, number: null };
  const match = /^(?:([^:]+):)?(\w+?)(?:\[([\d,]*)\])?$/.exec(text);
  if (!match) return { step, number: null };
  const [, from = null, letter, index = ""] = match;
  const number = {
    letter, shared: from === "sum", chain: from === "sum" ? null : from, index: index ? index.split(",").map(Number) : [],
  };
  if (isLoss(number)) return { step, number: steps[step].call ? null : number };
  return { step, number: wrong(steps[step], number) ? null : number };
}

// Why there is no such number, or "".
function wrong(step, number) {
  const owner = ownerOf(step, number);
  const role = owner && (number.shared ? owner.sums?.[number.letter] : owner.roles[number.letter]);
  if (!role) return `${number.letter} is not here; there are ${Object.keys((owner ?? step.end).roles).join(", ")}`;
  const { shape } = role;
  if (number.index.length !== shape.length) return `${number.letter} is ${shapeText(shape)}: it takes ${count(shape.length, "index").replace("indexs", "indices")}`;
  const at = number.index.findIndex((i, d) => !(i >= 0 && i < shape[d]));
  return at < 0 ? "" : `${number.letter} is ${shapeText(shape)}: ${number.index[at]} lies outside`;
}

// "dw[1,2,0,5]", or a:encoder.conv1.dw[1,2,0,5]; says why where there is no such number.
function jump(text) {
  const clean = text.replaceAll(/\s/g, "");
  const match = /^(?:(.+)\.)?(\w+)\[([\d,]*)\]$/.exec(clean);
  const loss = told.ends.find((end) => endLabel(end) === clean);
  if (loss || clean === "loss") {
    const number = { letter: loss ? "loss" : "total", index: [], chain: null, shared: false };
    go({ step: stepOf("loss", null, loss ?? steps[now.step].end), number }, { focus: true });
    return null;
  }
  if (!match) return "A number is written like dw[1,2,0,5].";
  const [, label, letter, numbers] = match;
  const index = numbers ? numbers.split(",").map(Number) : [];
  let { step } = now;
  let shared = Boolean(now.number?.shared && letter === now.number.letter);
  if (label) {
    const end = told.ends.find((e) => endLabel(e) === label);
    const call = told.calls.find((c) => c.label === label) ?? told.calls.find((c) => c.name === label);
    if (!end && !call) return `There is no layer ${label}.`;
    const goes = letter[0] === "d" && letter.length > 1 ? "back" : "forward";
    step = end ? stepOf("loss", null, end) : stepOf(goes, call);
    shared = Boolean(call && letter in call.sums && call.label !== label);
  }
  const number = { letter, index, chain: null, shared };
  const why = wrong(steps[step], number);
  if (why) return why;
  go({ step, number }, { still: step === now.step, focus: true });
  return null;
}
