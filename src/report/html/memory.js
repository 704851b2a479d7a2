// What is known of memory over time, and where a moment is among those that are known.

// What is known of memory over time; null if nothing is.
function memoryOf(attempts, decisions, budget, end) {
  const changes = [];
  for (const one of attempts) if (one.m) changes.push([one.b, one.m], [one.e, -one.m]);
  if (!changes.length && !decisions.length) return null;
  // Ends before begins: one that starts in the place of another was never beside it.
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const peaks = [[0, 0]];
  let sum = 0;
  for (const [when, by] of changes) {
    sum += by;
    const last = peaks[peaks.length - 1];
    if (last[0] === when) last[1] = sum; else peaks.push([when, sum]);
  }
  peaks.push([end, 0]);
  const measured = decisions.map((one) => [one.t, Math.max(0, one.b - one.l)]);
  const budgets = decisions.map((one) => [one.t, one.b]);
  if (budget && !budgets.length) budgets.push([0, budget]);
  else if (budgets.length) budgets.unshift([0, budgets[0][1]]);
  const largest = (points) => points.reduce((most, point) => Math.max(most, point[1]), 0);
  const used = Math.max(largest(peaks), largest(measured)), limit = largest(budgets);
  // A budget that dwarfs all that was used would leave a line on the ground.
  const inSight = limit > 0 && used > limit / 6;
  const most = inSight ? Math.max(limit, Math.min(used, limit * 1.5), largest(measured)) * 1.08 : Math.max(used, 1 << 20) * 1.15;
  return { peaks, measured, budgets, inSight, most };
}

function niceSize(least) {
  let size = 1024;
  for (;;) {
    for (let step = 1; step < 1024; step *= 2) if (size * step >= least) return size * step;
    size *= 1024;
  }
}

function lastBefore(sorted, when, of) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(sorted[middle]) <= when) low = middle + 1; else high = middle;
  }
  return low ? sorted[low - 1] : null;
}
