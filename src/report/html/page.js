// The table of jobs, the sheet with one job's detail, the lists of five; puts the chart in its place.
//
// A job: id, name, verdict, failed, attempts. An attempt, as rows.rs writes it:
//   r what it came to   h of what it failed   s slot   b began   e ended   w wall   z frozen   c processor time
//   m peak of memory    l its limit   f [[from, until], ...] when it stood still
//   t what happened     d what it was doing, df the file with all of that     o output: head, tail, left_out, total, file
// A decision: t when, s state 0..3, a action, l left, b budget, j job, w in words. Times in ms, sizes in bytes.

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const jobs = [...data.failed, ...data.others];
  const byId = new Map(jobs.map((job) => [job.id, job]));
  for (const job of jobs) {
    const last = job.attempts[job.attempts.length - 1] || { w: 0 };
    job.last = last;
    job.wall = last.w;
    job.cpu = last.c;
    job.peak = last.m;
    job.asleep = last.c === undefined ? undefined : Math.max(0, last.w - last.c);
    job.evictions = job.attempts.filter((one) => one.r === "evicted").length;
    job.tries = job.attempts.length - job.evictions;
    job.frozen = job.attempts.reduce((sum, one) => sum + (one.z || 0), 0);
    job.kind = job.failed ? "failed" : ["flaky", "unseen"].includes(job.verdict) ? job.verdict : "passed";
    // Failures first, then what is odd, then the rest.
    job.rank = job.failed ? 0 : job.verdict === "flaky" ? 1 : job.evictions ? 2 : 3;
    for (const one of job.attempts) one.job = job;
  }
  const attempts = jobs.flatMap((job) => job.attempts);
  for (const one of data.running) attempts.push({ r: "running", s: one.s, b: one.b, e: Math.max(data.wall, one.b), w: data.wall - one.b, job: { name: one.n } });

  // ---- a job's result: a badge with a word
  function badge(job) {
    const failing = [...job.attempts].reverse().find((one) => one.h && one.r !== "evicted");
    if (job.failed) return element("span", `badge ${job.verdict === "flaky" ? "fail" : job.verdict}`, `× ${failing && job.verdict !== "flaky" ? failing.h : job.verdict}`);
    if (job.verdict === "flaky") return element("span", "badge flaky", "flaky");
    if (job.verdict === "unseen") return element("span", "badge", "? unseen");
    return element("span", "badge pass", "✓ passed");
  }

  function opener(job) {
    const button = element("button", "open name", job.name);
    button.type = "button";
    button.title = job.name;
    button.addEventListener("click", (event) => { event.stopPropagation(); open(job, button); });
    return button;
  }

  function meter(part) {
    const fill = element("i");
    fill.style.width = `${Math.max(1, Math.min(100, part * 100))}%`;
    const made = element("div", part > 0.9 ? "meter near" : "meter", fill);
    made.setAttribute("aria-hidden", "true");
    return made;
  }

  // ---- timeline
  if (attempts.length) {
    $("timeline").hidden = false;
    const chart = makeChart({
      canvas: $("canvas"), tip: $("tip"), said: $("chart-said"), attempts, decisions: data.decisions,
      budget: data.budget, wall: data.wall, open: (job) => open(job, $("canvas")),
    });
    $("canvas").setAttribute("aria-label", `timeline: ${counted(attempts.length, "attempt")} in ${time(data.wall)}`);
    $("zoom-in").addEventListener("click", chart.zoomIn);
    $("zoom-out").addEventListener("click", chart.zoomOut);
    $("zoom-all").addEventListener("click", chart.showAll);
    const legend = () => {
      const came = Object.keys(CAME).filter((came) => attempts.some((one) => one.r === came));
      const entries = came.map((came) => [came, CAME[came].word]);
      if (attempts.some((one) => one.f)) entries.push(["frozen", "frozen"]);
      if (chart.memory) {
        if (chart.memory.peaks.length > 2) entries.push(["peaks", "memory: peaks of those that ran, added up (an upper bound)"]);
        if (chart.memory.measured.length) entries.push(["measured", "memory: measured when the governor decided"]);
        if (chart.memory.inSight) entries.push(["budget", "budget"]);
      }
      if (data.decisions.length) STATES.forEach((state, index) => entries.push([index, `${state.name} ${state.word}`]));
      $("legend").replaceChildren(...entries.map(([what, word]) => {
        const swatch = element("canvas");
        swatch.setAttribute("aria-hidden", "true");
        chart.paint(swatch, what);
        return element("li", "", swatch, word);
      }));
    };
    legend();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", legend);
  }

  // ---- five of each; a command that brings tests along takes as long as all of them, and would be in their way
  const listed = jobs.some((job) => job.brought) ? jobs.filter((job) => job.brought) : jobs;
  function five(id, of, figure) {
    const most = listed.filter((job) => of(job) > 0).sort((a, b) => of(b) - of(a)).slice(0, 5);
    if (!most.length) { $(id).hidden = true; return; }
    const items = most.map((job) => element("li", "", element("div", "", opener(job), element("span", "figure", figure(job))), meterOf(of(job) / of(most[0]))));
    $(id).querySelector("ol").replaceChildren(...items);
    $("tops").hidden = false;
  }
  function meterOf(part) {
    const made = meter(part);
    made.className = "meter";
    return made;
  }
  if (jobs.length > 1) {
    five("slowest", (job) => job.wall, (job) => time(job.wall));
    five("fattest", (job) => job.peak, (job) => bytes(job.peak));
    five("sleepiest", (job) => job.asleep, (job) => time(job.asleep));
  }

  // ---- table
  const COLUMNS = [
    { id: "verdict", head: "result", of: (job) => job.rank, up: true },
    { id: "name", head: "job", of: (job) => job.name, up: true },
    { id: "wall", head: "wall", of: (job) => job.wall, text: (job) => time(job.wall) },
    { id: "cpu", head: "cpu", of: (job) => job.cpu, text: (job) => time(job.cpu) },
    { id: "peak", head: "peak / limit", of: (job) => job.peak },
    { id: "evictions", head: "evictions", of: (job) => job.evictions, text: (job) => String(job.evictions) },
    { id: "frozen", head: "frozen", of: (job) => job.frozen, text: (job) => (job.frozen ? time(job.frozen) : "0") },
    { id: "tries", head: "tries", of: (job) => job.tries, text: (job) => String(job.tries) },
  ];
  const PAGE = 200;
  const sorted = { by: COLUMNS[0], up: true };
  let wanted = "all", words = [], many = PAGE, found = [];

  function row(job) {
    const cells = COLUMNS.map((column) => {
      const cell = element("td", `c-${column.id}`);
      if (column.id === "verdict") cell.append(badge(job));
      else if (column.id === "name") cell.append(opener(job));
      else if (column.id === "peak") {
        if (job.peak === undefined) cell.append("–");
        else {
          cell.append(job.last.l ? `${bytes(job.peak)} / ${bytes(job.last.l)}` : bytes(job.peak));
          if (job.last.l) cell.append(meter(job.peak / job.last.l));
        }
      } else {
        const value = column.of(job);
        cell.textContent = value === undefined ? "–" : column.text(job);
        if (!value || (column.id === "tries" && value === 1)) cell.classList.add("zero");
      }
      return cell;
    });
    const made = element("tr", "", ...cells);
    made.dataset.job = job.id;
    return made;
  }

  function compare(a, b) {
    const [one, other] = [sorted.by.of(a), sorted.by.of(b)];
    // What is not known is last, whichever way it is sorted.
    if (one === undefined || other === undefined) return (one === undefined) - (other === undefined) || a.id - b.id;
    const order = typeof one === "string" ? (one < other ? -1 : one > other ? 1 : 0) : one - other;
    return (sorted.up ? order : -order) || a.id - b.id;
  }

  function list() {
    found = jobs.filter((job) => (wanted === "all" || job.kind === wanted || (wanted === "evicted" && job.evictions > 0)) &&
      words.every((word) => job.name.toLowerCase().includes(word))).sort(compare);
    const rows = found.slice(0, many).map(row);
    $("rows").replaceChildren(...rows);
    const missing = data.only_counted ? `; ${counted(data.only_counted, "more job")} only counted, to keep this page small` : "";
    $("shown").textContent = `${found.length === jobs.length ? counted(jobs.length, "job") : `${found.length.toLocaleString("en")} of ${counted(jobs.length, "job")}`}${missing}`;
    $("more").hidden = found.length <= many;
    $("more").textContent = `Show all ${found.length.toLocaleString("en")}`;
    for (const head of $("columns").children) {
      if (head.dataset.by === sorted.by.id) head.setAttribute("aria-sort", sorted.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
      head.querySelector("span").textContent = head.dataset.by === sorted.by.id ? (sorted.up ? " ▴" : " ▾") : "";
    }
    $("sort").value = sorted.by.id;
  }

  function sortBy(column) {
    if (sorted.by === column) sorted.up = !sorted.up;
    else { sorted.by = column; sorted.up = Boolean(column.up); }
    many = PAGE;
    list();
  }

  if (jobs.length) {
    $("jobs").hidden = false;
    for (const column of COLUMNS) {
      const button = element("button", "", column.head, element("span"));
      button.type = "button";
      button.addEventListener("click", () => sortBy(column));
      const head = element("th", `c-${column.id}`, button);
      head.scope = "col";
      head.dataset.by = column.id;
      $("columns").append(head);
      const option = element("option", "", column.head);
      option.value = column.id;
      $("sort").append(option);
    }
    $("sort").addEventListener("change", () => sortBy(COLUMNS.find((column) => column.id === $("sort").value)));
    const kinds = [["all", jobs.length], ...["failed", "flaky", "unseen", "passed"].map((kind) => [kind, jobs.filter((job) => job.kind === kind).length]), ["evicted", jobs.filter((job) => job.evictions).length]];
    for (const [kind, count] of kinds.filter(([, count]) => count)) {
      const chip = element("button", "", `${kind} ${count.toLocaleString("en")}`);
      chip.type = "button";
      chip.dataset.kind = kind;
      chip.setAttribute("aria-pressed", String(kind === wanted));
      chip.addEventListener("click", () => {
        wanted = kind;
        many = PAGE;
        for (const other of $("chips").children) other.setAttribute("aria-pressed", String(other === chip));
        list();
      });
      $("chips").append(chip);
    }
    $("search").addEventListener("input", () => { words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean); many = PAGE; list(); });
    $("more").addEventListener("click", () => { many = Infinity; list(); });
    $("rows").addEventListener("click", (event) => {
      const at = event.target.closest("tr");
      if (at) open(byId.get(Number(at.dataset.job)), at.querySelector("button"));
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || $("detail").open) return;
      event.preventDefault();
      $("search").focus();
    });
    list();
  }

  // ---- detail
  function open(job, from) {
    if (!job) return;
    $("detail-name").textContent = job.name;
    const many = job.attempts.length > 1;
    const shown = [...job.attempts].reverse().map((one, index) => attempt(one, many ? job.attempts.length - index : 0));
    $("detail-body").replaceChildren(element("p", "", badge(job)), ...shown);
    if (!$("detail").open) {
      // A dialog gives the focus back to what had it, at once. Its event comes later, when the reader may be elsewhere.
      from.focus({ preventScroll: true });
      $("detail").showModal();
    }
    $("detail").scrollTop = 0;
  }

  // Files are named by their name in the folder where most of them are.
  const path = (file) => (file.includes("/") ? file : `${data.folder}/${file}`);

  function attempt(one, number) {
    const figures = [
      ["wall", time(one.w)], ["cpu", one.c === undefined ? "–" : time(one.c)],
      ["peak memory", one.m === undefined ? "–" : one.l ? `${bytes(one.m)} of ${bytes(one.l)}` : bytes(one.m)],
      ["frozen", one.z ? time(one.z) : null], ["slot", String(one.s)], ["began at", time(one.b)],
    ];
    const facts = element("dl", "facts");
    for (const [name, value] of figures) if (value) facts.append(element("div", "", element("dt", "", name), element("dd", "", value)));
    const made = element("section", "attempt");
    if (number) made.append(element("h3", "", `Attempt ${number}: ${CAME[one.r].word}${one.h ? ` (${one.h})` : ""}`));
    made.append(facts);
    if (one.m !== undefined && one.l) made.append(meter(one.m / one.l));
    if (one.t) made.append(element("p", "", one.t));
    if (one.d) made.append(element("h3", "", "What it was doing"), element("pre", "seen", one.d));
    if (one.df) made.append(element("p", "help", `the whole of it: ${path(one.df)}`));
    if (one.o) {
      made.append(element("h3", "", "What it wrote"));
      const gap = one.o.left_out ? `${one.o.head ? "\n" : ""}... ${bytes(one.o.left_out)} left out ...\n` : "";
      made.append(element("pre", "output", one.o.head + gap + (one.o.tail || "")));
      if (one.o.file) made.append(element("p", "help", `${bytes(one.o.total)} in all: ${path(one.o.file)}`));
      else if (gap) made.append(element("p", "help", `${bytes(one.o.total)} in all; no file was kept of it`));
    }
    return made;
  }

  $("close").addEventListener("click", () => $("detail").close());
  // A click beside the sheet closes it.
  $("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });

  // ---- the failures that are there without a script lead to their detail
  for (const item of document.querySelectorAll("li[data-job]")) {
    const job = byId.get(Number(item.dataset.job));
    if (!job) continue;
    const button = element("button", "", job.attempts.length > 1 ? `All ${job.attempts.length} attempts, output, figures` : "Output and figures");
    button.type = "button";
    button.addEventListener("click", () => open(job, button));
    item.querySelector(".body").append(button);
  }
})();
