// The chart under a mouse, a finger and the keyboard.

function listen(canvas, chart) {
  const { hand, order, lanes, view } = chart;
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const open = (one) => { if (one && one.job.id !== undefined) chart.open(one.job); };
  let tapped = null;

  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = place(event), drag = hand.drag;
    if (drag) {
      drag.to = chart.inside(px);
      drag.moved = drag.moved || Math.abs(px - drag.start) > 5;
      chart.redraw();
    }
    chart.show(drag && drag.moved ? null : chart.tell(px, py), px, py);
    canvas.style.cursor = chart.attemptAt(px, py) ? "pointer" : "crosshair";
  });
  canvas.addEventListener("pointerdown", (event) => {
    const [px] = place(event);
    if (event.pointerType === "touch" || event.button !== 0) return;
    hand.drag = { start: px, from: chart.inside(px), to: chart.inside(px), moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", (event) => {
    const [px, py] = place(event), drag = hand.drag;
    hand.drag = null;
    if (drag && drag.moved) {
      const [from, to] = [chart.at(Math.min(drag.from, drag.to)), chart.at(Math.max(drag.from, drag.to))];
      chart.look(from, Math.max(2, to - from));
      return;
    }
    const one = chart.attemptAt(px, py);
    if (event.pointerType === "touch") chart.show(chart.tell(px, py), px, py);
    if (!one) return;
    hand.chosen = one;
    chart.redraw();
    // A finger has no hover: its first tap shows what the second opens.
    if (event.pointerType === "touch" && tapped !== one) tapped = one;
    else open(one);
  });
  canvas.addEventListener("pointercancel", () => { hand.drag = null; chart.redraw(); });
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") chart.show(null); });
  canvas.addEventListener("blur", () => chart.show(null));
  canvas.addEventListener("wheel", (event) => {
    // Without a key the wheel belongs to the page.
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    chart.zoom(event.deltaY > 0 ? 1.25 : 0.8, chart.at(place(event)[0]));
  }, { passive: false });

  canvas.addEventListener("keydown", (event) => {
    const one = hand.chosen, index = order.indexOf(one);
    const act = {
      ArrowRight: () => choose(order[Math.min(index + 1, order.length - 1)]),
      ArrowLeft: () => choose(order[Math.max(index - 1, 0)]),
      ArrowDown: () => choose(beside(one, 1)),
      ArrowUp: () => choose(beside(one, -1)),
      Home: () => choose(order[0]),
      End: () => choose(order[order.length - 1]),
      Enter: () => open(one),
      Escape: () => chart.show(null),
      "+": () => chart.zoom(0.5, one ? one.b : undefined),
      "=": () => chart.zoom(0.5, one ? one.b : undefined),
      "-": () => chart.zoom(2),
      0: chart.showAll,
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  function choose(one) {
    hand.chosen = one;
    const span = view.to - view.from;
    if (one.e < view.from || one.b > view.to) chart.look(one.b - span / 2, span);
    chart.redraw();
    const what = `${one.h || CAME[one.r].word}, ${time(one.w)}`;
    chart.show([element("div", "name", one.job.name), what], chart.inside(chart.x(one.b)), chart.middle(one));
    chart.say(`${one.job.name}: ${what}, slot ${one.s}, from ${time(one.b)}`);
  }

  // In the lane beside it, the attempt that began last before this one's end.
  function beside(one, step) {
    if (!one) return order[0];
    const inLane = lanes[one.s + step];
    if (!inLane || !inLane.length) return one;
    return lastBefore(inLane, one.e, (other) => other.b) || inLane[0];
  }
}
