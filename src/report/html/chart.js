// When it happened: attempts by slot, below them memory and the governor's states, all on one axis of time.
//
//   slot 0  |  a bar an attempt; patterns and letters for what is not simply passed
//   slot 1  |
//   memory  |  what those that ran came to at most, what was measured, the budget
//   governor|  a step for each state, the higher the worse
//           +-- time

function makeChart({ canvas, tip, said, attempts, decisions, budget, wall, open }) {
  const LEFT = 74, RIGHT = 14, TOP = 18, AXIS = 34, GAP = 32, MEMORY = 120, STATE = 44;
  const slots = Math.max(1, ...attempts.map((one) => one.s + 1));
  const lane = slots <= 8 ? 26 : slots <= 20 ? 18 : slots <= 48 ? 11 : 6;
  const all = { from: 0, to: Math.max(wall, ...attempts.map((one) => one.e), 1) * 1.01 };
  const view = { ...all };
  const lanes = Array.from({ length: slots }, () => []);
  for (const one of attempts) lanes[one.s].push(one);
  for (const inLane of lanes) inLane.sort((a, b) => a.b - b.b);
  const order = [...attempts].sort((a, b) => a.b - b.b || a.s - b.s);
  const governed = decisions.length > 0;
  const memory = memoryOf(attempts, decisions, budget, all.to);
  const memoryTop = TOP + slots * lane + GAP;
  const stateTop = memoryTop + (memory ? MEMORY + GAP : 0);
  const height = (governed ? stateTop + STATE : stateTop - GAP) + AXIS;
  const context = canvas.getContext("2d");
  // chosen: the attempt with a frame around it; drag: the stretch that is being drawn, in pixels.
  const hand = { chosen: null, drag: null };
  let width = 0, frame = 0;
  let colours = {}, patterns = {};

  const x = (at) => LEFT + ((at - view.from) / (view.to - view.from)) * (width - LEFT - RIGHT);
  const at = (px) => view.from + ((px - LEFT) / (width - LEFT - RIGHT)) * (view.to - view.from);

  function fit() {
    width = canvas.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    dress();
    draw();
  }

  function dress() {
    const style = getComputedStyle(document.documentElement);
    colours = new Proxy({}, { get: (_, name) => style.getPropertyValue(name).trim() });
    const names = ["--ink", "--soft", "--line", "--faint", "--card", "--accent", "--on-bar", "--on-soft", ...Object.values(CAME).map((came) => came.colour), ...STATES.map((state) => state.colour)];
    colours = Object.fromEntries(names.map((name) => [name, colours[name]]));
    patterns = {};
  }

  function redraw() {
    if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
  }

  function draw() {
    context.clearRect(0, 0, width, height);
    context.textBaseline = "middle";
    axis();
    label("slot", TOP - 9, true);
    lanes.forEach((inLane, slot) => {
      if (lane >= 11 || slot % Math.ceil(12 / lane) === 0) label(String(slot), TOP + slot * lane + lane / 2);
    });
    within(TOP - 2, slots * lane + 4, () => {
      // What passed is below, so that no failure hides behind its neighbours where a bar is narrower than a pixel.
      for (const one of attempts) if (one.r === "pass") bar(one);
      for (const one of attempts) if (one.r !== "pass") bar(one);
    });
    if (memory) drawMemory();
    if (governed) drawStates();
    evictions();
    const drag = hand.drag;
    if (drag && drag.moved) {
      context.fillStyle = colours["--accent"];
      context.globalAlpha = 0.18;
      context.fillRect(Math.min(drag.from, drag.to), TOP - 2, Math.abs(drag.to - drag.from), height - AXIS - TOP + 2);
      context.globalAlpha = 1;
    }
  }

  function within(top, tall, paint) {
    context.save();
    context.beginPath();
    context.rect(LEFT, top, width - LEFT - RIGHT, tall);
    context.clip();
    paint();
    context.restore();
  }

  function label(text, y, strong) {
    context.font = `${strong ? "600 " : ""}11.5px system-ui, sans-serif`;
    context.fillStyle = colours["--soft"];
    context.textAlign = "right";
    context.fillText(text, LEFT - 10, y);
  }

  function axis() {
    const span = view.to - view.from, room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 72));
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 864e5]
      .find((step) => span / step <= room) || 864e5;
    const [unit, size] = step >= 36e5 ? ["h", 36e5] : step >= 6e4 ? ["min", 6e4] : span >= 1500 ? ["s", 1e3] : ["ms", 1];
    const digits = Math.max(0, Math.ceil(-Math.log10(step / size) - 1e-9));
    const bottom = height - AXIS;
    context.font = "11.5px system-ui, sans-serif";
    context.lineWidth = 1;
    for (let tick = Math.ceil(view.from / step) * step; tick <= view.to; tick += step) {
      const px = Math.round(x(tick)) + 0.5;
      context.strokeStyle = colours["--line"];
      context.beginPath(); context.moveTo(px, TOP - 4); context.lineTo(px, bottom + 5); context.stroke();
      context.fillStyle = colours["--soft"];
      // At the edges beside the line, so that nothing is written over or cut.
      const side = px < LEFT + 16 ? "left" : px > width - 40 ? "right" : "center";
      context.textAlign = side;
      context.fillText(`${(tick / size).toFixed(digits)}${unit}`, side === "right" ? width - 4 : side === "left" ? px - 2 : px, bottom + 15);
    }
    label("time", bottom + 15, true);
  }

  function bar(one) {
    const came = CAME[one.r];
    const left = x(one.b), right = x(one.e);
    if (right < LEFT - 1 || left > width) return;
    const wide = Math.max(right - left - (right - left > 4 ? 1 : 0), one.r === "pass" ? 0.8 : 2);
    const top = TOP + one.s * lane + 1, tall = lane - (lane > 8 ? 3 : 1);
    context.fillStyle = colours[came.colour];
    context.fillRect(left, top, wide, tall);
    if (came.pattern && wide > 6) {
      context.fillStyle = pattern(came.pattern);
      context.fillRect(left, top, wide, tall);
    }
    // It stood still: its bar is thinner there.
    for (const [from, until] of one.f || []) {
      const begin = Math.max(x(from), left), long = Math.max(1, Math.min(x(until), right) - begin);
      context.fillStyle = colours["--card"];
      context.fillRect(begin, top - 1, long, tall + 2);
      context.fillStyle = colours["--evicted"];
      context.fillRect(begin, top + tall / 2 - 1.5, long, 3);
      if (long > 18 && lane >= 18) tag("F", begin + long / 2, top + tall / 2, colours["--evicted"]);
    }
    if (hand.chosen === one) {
      context.strokeStyle = colours["--ink"];
      context.lineWidth = 2;
      context.strokeRect(left - 1, top - 1, wide + 2, tall + 2);
    }
    if (lane < 18) return;
    const shownFrom = Math.max(left, LEFT), shown = Math.min(right, width - RIGHT) - shownFrom;
    let text = shownFrom + 5;
    if (came.letter && shown > 16) {
      tag(came.letter, shownFrom + 9, top + tall / 2, colours[came.colour]);
      text += 16;
    }
    // As far as it goes on, for the name.
    const stood = (one.f || []).find(([, until]) => x(until) > text);
    const room = Math.min(shownFrom + shown, stood ? x(stood[0]) : Infinity) - text - 4;
    if (room > 34) {
      context.font = "11.5px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
      const letters = Math.floor(room / 7);
      const name = one.job.name.length > letters ? `${one.job.name.slice(0, letters - 1)}…` : one.job.name;
      context.textAlign = "left";
      if (came.pattern) {
        context.fillStyle = colours[came.colour];
        context.fillRect(text - 3, top + 2, context.measureText(name).width + 6, tall - 4);
      }
      context.fillStyle = colours[came.on];
      context.fillText(name, text, top + tall / 2 + 0.5);
    }
  }

  // A letter on a patch of its own, readable on any pattern.
  function tag(letter, px, y, colour) {
    context.font = "700 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillStyle = colours["--card"];
    context.fillRect(px - 7, y - 7, 14, 14);
    context.fillStyle = colour;
    context.fillText(letter, px, y + 0.5);
  }

  function pattern(name) {
    if (!patterns[name]) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 8;
      const ink = tile.getContext("2d");
      ink.strokeStyle = ink.fillStyle = colours["--card"];
      ink.globalAlpha = 0.5;
      ink.lineWidth = 1.5;
      const lines = {
        cross: [[0, 8, 8, 0], [0, 0, 8, 8]],
        steep: [[0, 8, 8, 0], [-2, 2, 2, -2], [6, 10, 10, 6]],
        flat: [[0, 4, 8, 4]],
        dots: [],
      }[name];
      for (const [x0, y0, x1, y1] of lines) { ink.beginPath(); ink.moveTo(x0, y0); ink.lineTo(x1, y1); ink.stroke(); }
      if (name === "dots") { ink.fillRect(1, 1, 2.5, 2.5); ink.fillRect(5, 5, 2.5, 2.5); }
      patterns[name] = context.createPattern(tile, "repeat");
    }
    return patterns[name];
  }

  function drawMemory() {
    const bottom = memoryTop + MEMORY, y = (size) => bottom - Math.min(1.04, size / memory.most) * MEMORY;
    label("memory", memoryTop - 9, true);
    const step = niceSize(memory.most / 4);
    context.lineWidth = 1;
    for (let size = 0; size <= memory.most; size += step) {
      const line = Math.round(y(size)) + 0.5;
      context.strokeStyle = colours["--line"];
      context.beginPath(); context.moveTo(LEFT, line); context.lineTo(width - RIGHT, line); context.stroke();
      label(size === 0 ? "0" : bytes(size), line);
    }
    within(memoryTop - 6, MEMORY + 8, () => {
      context.fillStyle = colours["--accent"];
      context.globalAlpha = 0.28;
      context.beginPath();
      stairs(memory.peaks, y, bottom);
      context.lineTo(x(all.to), bottom); context.lineTo(x(0), bottom);
      context.fill();
      context.globalAlpha = 1;
      if (memory.measured.length) {
        // Between two measurements nothing is known: the line is fainter than its points.
        context.strokeStyle = colours["--ink"]; context.lineWidth = 1;
        context.globalAlpha = 0.45;
        context.beginPath();
        memory.measured.forEach(([when, size], index) => context[index ? "lineTo" : "moveTo"](x(when), y(size)));
        context.stroke();
        context.globalAlpha = 1;
        context.fillStyle = colours["--ink"];
        for (const [when, size] of memory.measured) context.fillRect(x(when) - 2, y(size) - 2, 4, 4);
      }
      if (memory.inSight) {
        context.strokeStyle = colours["--fail"]; context.lineWidth = 1.5; context.setLineDash([7, 4]);
        context.beginPath();
        stairs(memory.budgets, y, bottom);
        context.stroke();
        context.setLineDash([]);
      }
    });
    if (memory.budgets.length) {
      context.font = "11.5px system-ui, sans-serif";
      context.textAlign = "right";
      const last = memory.budgets[memory.budgets.length - 1][1];
      const text = memory.inSight ? `budget ${bytes(last)}` : `budget ${bytes(last)}, far above`;
      const where = memory.inSight ? Math.max(memoryTop - 9, y(memory.budgets[0][1]) - 9) : memoryTop - 9;
      context.fillStyle = colours["--card"];
      context.fillRect(width - RIGHT - context.measureText(text).width - 6, where - 7, context.measureText(text).width + 6, 14);
      context.fillStyle = memory.inSight ? colours["--fail"] : colours["--soft"];
      context.fillText(text, width - RIGHT - 2, where);
    }
  }

  // [[when, size], ...]: each size holds until the next.
  function stairs(points, y, start) {
    let before = null;
    for (const [when, size] of points) {
      if (before === null) context.moveTo(x(when), y === null ? start : y(size));
      else context.lineTo(x(when), before);
      before = y(size);
      context.lineTo(x(when), before);
    }
    if (before !== null) context.lineTo(x(all.to), before);
  }

  function drawStates() {
    label("governor", stateTop + STATE / 2 - 1, true);
    const bottom = stateTop + STATE;
    const steps = [{ t: 0, s: 0 }, ...decisions];
    within(stateTop - 2, STATE + 2, () => {
      steps.forEach((step, index) => {
        const until = index + 1 < steps.length ? steps[index + 1].t : all.to;
        const left = x(step.t), wide = Math.max(x(until) - left, step.s ? 1.5 : 0.5), state = STATES[step.s];
        const tall = ((step.s + 1) / 4) * STATE;
        context.fillStyle = colours[state.colour];
        context.fillRect(left, bottom - tall, wide, tall);
      });
      // Letters above all of them, one for a stretch of the same state.
      for (let first = 0; first < steps.length;) {
        let next = first + 1;
        while (next < steps.length && steps[next].s === steps[first].s) next += 1;
        const left = Math.max(x(steps[first].t), LEFT), right = Math.min(next < steps.length ? x(steps[next].t) : x(all.to), width - RIGHT);
        const state = STATES[steps[first].s], tall = ((steps[first].s + 1) / 4) * STATE;
        if (right - left > 13) {
          context.font = "600 10.5px system-ui, sans-serif";
          context.textAlign = "center";
          const word = right - left > 130 ? `${state.name} ${state.word}` : right - left > 60 ? state.name : state.letter;
          context.fillStyle = "#111";
          context.fillText(word, (left + right) / 2, bottom - Math.min(tall / 2, 16) + (tall < 12 ? 0 : 0.5));
        }
        first = next;
      }
    });
  }

  function evictions() {
    const bottom = (governed ? stateTop + STATE : height - AXIS);
    within(TOP - 18, bottom - TOP + 18, () => {
      for (const one of attempts) {
        if (one.r !== "evicted") continue;
        const px = Math.round(x(one.e)) + 0.5, from = TOP + one.s * lane;
        context.strokeStyle = colours["--evicted"];
        context.lineWidth = 1;
        context.setLineDash([2, 3]);
        context.beginPath(); context.moveTo(px, from + lane); context.lineTo(px, bottom); context.stroke();
        context.setLineDash([]);
        context.fillStyle = colours["--evicted"];
        context.beginPath(); context.moveTo(px - 4, from); context.lineTo(px + 4, from); context.lineTo(px, from + 6); context.fill();
      }
    });
  }

  // The attempt at a place, or the nearest in its lane; what did not pass goes before what did.
  function attemptAt(px, py) {
    const slot = Math.floor((py - TOP) / lane);
    if (slot < 0 || slot >= slots) return null;
    let best = null, least = 5;
    for (const one of lanes[slot]) {
      const far = Math.max(x(one.b) - px, px - x(one.e), 0) + (one.r === "pass" ? 1 : 0);
      if (far < least) { least = far; best = one; }
    }
    return best;
  }

  function tell(px, py) {
    const one = attemptAt(px, py);
    if (one) {
      const lines = [element("div", "name", one.job.name), `${one.h || CAME[one.r].word}, ${time(one.w)}${one.m === undefined ? "" : `, peak ${bytes(one.m)}`}`, element("div", "", `slot ${one.s}, from ${time(one.b)} to ${time(one.e)}`)];
      if (one.z) lines.push(element("div", "", `frozen for ${time(one.z)}`));
      return lines;
    }
    const when = at(px);
    if (px < LEFT || py < memoryTop || py > height - AXIS || when < 0 || when > all.to) return null;
    if (memory && py < memoryTop + MEMORY + 4) {
      const lines = [element("div", "", `at ${time(when)}`)];
      const measured = lastBefore(decisions, when, (one) => one.t);
      if (measured) lines.push(element("div", "", `measured at ${time(measured.t)}: ${bytes(Math.max(0, measured.b - measured.l))} of ${bytes(measured.b)}, ${bytes(measured.l)} left`));
      const peaks = lastBefore(memory.peaks, when, (point) => point[0]);
      if (peaks) lines.push(element("div", "", `peaks of those that ran, added up: ${bytes(peaks[1])}`));
      return lines;
    }
    if (governed && py >= stateTop - 4) {
      const decision = lastBefore(decisions, when, (one) => one.t);
      const state = STATES[decision ? decision.s : 0];
      return [element("div", "", `${state.name}, ${state.word}${decision ? `, decided at ${time(decision.t)}` : ""}`), decision ? element("div", "", decision.w) : null];
    }
    return null;
  }

  function show(lines, px, py) {
    tip.hidden = !lines;
    if (!lines) return;
    tip.replaceChildren(...lines.filter(Boolean));
    const box = canvas.parentElement.clientWidth;
    tip.style.left = `${Math.max(4, Math.min(px + 14, box - tip.offsetWidth - 6))}px`;
    tip.style.top = `${py + 22}px`;
  }

  function zoom(factor, around) {
    const centre = around === undefined ? (view.from + view.to) / 2 : around;
    let span = Math.min(all.to, Math.max(2, (view.to - view.from) * factor));
    look(centre - (centre - view.from) * (span / (view.to - view.from)), span);
  }

  function look(from, span) {
    view.from = Math.max(0, Math.min(from, all.to - span));
    view.to = Math.min(all.to, view.from + span);
    redraw();
  }

  new ResizeObserver(() => { if (canvas.clientWidth !== width) fit(); }).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { dress(); draw(); });
  fit();
  const chart = {
    hand, order, lanes, view, memory, x, at, attemptAt, tell, show, look, zoom, redraw, open,
    paint: swatch,
    zoomIn: () => zoom(0.5),
    zoomOut: () => zoom(2),
    showAll: () => look(0, all.to),
    inside: (px) => Math.max(LEFT, Math.min(px, width - RIGHT)),
    middle: (one) => TOP + one.s * lane + lane / 2,
    say: (text) => { said.textContent = text; },
  };
  listen(canvas, chart);
  return chart;

  function swatch(target, came) {
    target.width = 52; target.height = 28;
    const ink = target.getContext("2d");
    ink.scale(2, 2);
    if (came === "frozen") {
      ink.fillStyle = colours["--pass"]; ink.fillRect(0, 1, 5, 12); ink.fillRect(21, 1, 5, 12);
      ink.fillStyle = colours["--evicted"]; ink.fillRect(5, 5.5, 16, 3);
    } else if (came === "peaks") {
      ink.globalAlpha = 0.28; ink.fillStyle = colours["--accent"]; ink.fillRect(0, 1, 26, 12);
    } else if (came === "measured" || came === "budget") {
      ink.strokeStyle = colours[came === "budget" ? "--fail" : "--ink"]; ink.lineWidth = 1.5;
      if (came === "budget") ink.setLineDash([7, 4]);
      ink.beginPath(); ink.moveTo(0, 7); ink.lineTo(26, 7); ink.stroke();
      if (came === "measured") { ink.fillStyle = colours["--ink"]; ink.fillRect(11, 5, 4, 4); }
    } else if (STATES[came]) {
      const tall = ((came + 1) / 4) * 14;
      ink.fillStyle = colours[STATES[came].colour]; ink.fillRect(0, 14 - tall, 26, tall);
    } else {
      const { colour, pattern: kind, letter } = CAME[came];
      ink.fillStyle = colours[colour]; ink.fillRect(0, 0, 26, 14);
      if (kind) { ink.fillStyle = pattern(kind); ink.fillRect(0, 0, 26, 14); }
      if (letter) {
        ink.fillStyle = colours["--card"]; ink.fillRect(7, 1, 12, 12);
        ink.fillStyle = colours[colour]; ink.font = "700 11px system-ui, sans-serif"; ink.textAlign = "center"; ink.textBaseline = "middle";
        ink.fillText(letter, 13, 7.5);
      }
    }
  }
}
