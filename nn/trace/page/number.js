// What the panel is told of a number: its sum, why it is one, and where its factors are from.

const loaded = (owner, letters) =>
  Promise.all(letters.filter((letter) => owner.roles[letter]).map((letter) => owner.roles[letter].load()));

// Everything that the panel says of a number: its sum, where its factors are from, what else there is.
async function explained(step, number) {
  const { letter, index, shared } = number;
  const owner = ownerOf(step, number);
  const role = roleOf(step, number) ?? owner.roles.y;
  const spec = { context: owner, contexts: {}, also: [], why: "", about: null, marks: null };
  if (!step.call) await endNumber(spec, step.end, letter, index);
  else {
    const letters = ["x", "y", "dy", "dx", ...Object.keys(owner.parameters), letter];
    const all = shared ? callsOf(owner) : [owner];
    await Promise.all([role.load(), ...all.map((call) => loaded(call, letters))]);
    await callNumber(spec, step, owner, number, all);
  }
  const { sum } = spec;
  const used = [role, ...[sum, ...sum.parts.map(([, part]) => part)].flatMap((s) => [s.left?.role, s.right?.role])];
  spec.bits = Math.min(...used.filter(Boolean).map((r) => r.source.bits ?? FRACTION[told.dtype]));
  spec.digits = digitsOf(spec.bits);
  spec.valueDigits = isLoss(number) ? 9 : role.source.digits;
  spec.title = shared || isLoss(number) ? sum.name : `${owner.label ?? endLabel(owner)}.${nameOf(letter, index)}`;
  const coloured = isPicture(letter, role, step.call) && state.rgb && !isLoss(number);
  if (coloured) {
    ["red", "green", "blue"].forEach((name, c) => {
      spec.also.push([name, () => go({ step: now.step, number: { ...number, index: [...index.slice(0, 3), c] } }, { still: true }), c === index[3]]);
    });
  }
  return spec;
}

async function callNumber(spec, step, call, number, all) {
  const { letter, index, shared } = number;
  const name = nameOf(letter, index);
  const kind = WHY[call.kind] ?? {};
  const link = (text, target) => make("button", { type: "button", class: "factor", text, onclick: () => go(target, { trail: passed(), focus: true }) });
  if (letter in call.parameters) {
    spec.sum = given(`${call.label}.${name}`, `${letter} is a parameter: it was set before the step`, call.roles[letter].at(...index));
    const gradient = { letter: `d${letter}`, index, chain: null, shared: isShared(call) };
    spec.about = ["Training changes it against its gradient, ", link(nameOf(`d${letter}`, index), { step: stepOf("back", call), number: gradient }), "."];
  } else if (shared) {
    spec.sum = explainShared(all, letter, index);
    for (const one of all) spec.contexts[one.chain] = one;
    spec.marks = spec.sum.parts.find(([chain]) => chain === step.chain)?.[1].marks;
    spec.why = WHY_SHARED;
  } else if (letter === "x" || letter === "dy") {
    await handed(spec, call, letter, index, link);
  } else {
    spec.sum = explainCall(call, letter, index);
    spec.why = kind[letter] ?? "";
    if (call === step.call) spec.marks = spec.sum.marks;
  }
  const others = step.go === "forward" ? ["y"] : ["dx", ...Object.keys(call.parameters).map((p) => `d${p}`)];
  for (const other of others) {
    spec.also.push([other, () => go({ step: now.step, number: peak(steps[now.step], other) }, { still: true }), other === letter]);
  }
}

// x is y of the layer before, dy is dx of the one behind: their products are the neighbour's.
async function handed(spec, call, letter, index, link) {
  const { way, place, end } = call;
  const next = letter === "x" ? way[place - 1] : way[place + 1];
  const there = letter === "x" ? "y" : "dx";
  const own = call.roles[letter].at(...index);
  if (next) {
    await loaded(next, ["x", "y", "dy", "dx", ...Object.keys(next.parameters)]);
    spec.sum = explainCall(next, there, index);
    spec.context = next;
    spec.why = (WHY[next.kind] ?? {})[there] ?? "";
    const target = { step: stepOf(letter === "x" ? "forward" : "back", next), number: { letter: there, index, chain: null, shared: false } };
    spec.about = [`${letter} of this layer is ${there} of `, link(next.label, target), "; the products are that layer's. There they are outlined."];
  } else if (letter === "x") {
    spec.sum = given(`${call.label}.${nameOf(letter, index)}`, "x of the first layer is what was put in", own);
  } else {
    await loaded(end, ["y", "target", "dy"]);
    spec.sum = explainEnd(end, index);
    spec.context = end;
    spec.why = WHY_END;
    const target = { step: stepOf("loss", null, end), number: { letter: "dy", index, chain: null, shared: false } };
    spec.about = ["dy of the last layer comes from ", link("the loss", target), "."];
  }
}

async function endNumber(spec, end, letter, index) {
  await loaded(end, ["y", "target", "dy"]);
  if (letter === "loss") {
    Object.assign(spec, { sum: explainLoss(end), why: WHY_LOSS });
  } else if (letter === "total") {
    await Promise.all(told.ends.map((one) => loaded(one, ["y", "target"])));
    Object.assign(spec, { sum: explainTotal(), why: WHY_TOTAL, contexts: Object.fromEntries(told.ends.map((one) => [one.chain, one])) });
  } else if (letter === "dy") {
    spec.sum = explainEnd(end, index);
    spec.why = WHY_END;
    spec.marks = spec.sum.marks;
  } else if (letter === "target") {
    spec.sum = given(`${endLabel(end)}.${nameOf("target", index)}`, "the target is what was asked for", end.roles.target.at(...index));
  } else if (!end.way.length) {
    spec.sum = given(`${endLabel(end)}.${nameOf(letter, index)}`, "the chain has no layers: y is what was put in", end.roles.y.at(...index));
  } else {
    const last = end.way.at(-1);
    await loaded(last, ["x", "y", "dy", "dx", ...Object.keys(last.parameters)]);
    spec.sum = explainCall(last, "y", index);
    spec.context = last;
    const target = { step: stepOf("forward", last), number: { letter: "y", index, chain: null, shared: false } };
    spec.about = ["It comes out of ", make("button", { type: "button", class: "factor", text: last.label, onclick: () => go(target, { trail: passed(), focus: true }) }), "."];
  }
  const here = (number) => () => go({ step: now.step, number }, { still: true });
  const whole = (name) => here({ letter: name, index: [], chain: null, shared: false });
  const many = told.ends.length > 1;
  spec.also.push([many ? `loss of ${end.chain}` : "loss", whole("loss"), letter === "loss"]);
  if (many) spec.also.push(["loss of all", whole("total"), letter === "total"]);
  spec.also.push(["dy", here(peak(steps[now.step], "dy")), letter === "dy"]);
}
