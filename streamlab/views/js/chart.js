// One embed, then differences. The kernel tells each page which rows go and which come, by
// number; rows are plain objects here and one copy of each per view, since vega writes into them.
//
// kernel → page   {t: "d", seq, ack, parts, spec?, caption?}  {t: "lib", version}  {t: "broken", text}  {t: "over"}
// page → kernel   {t: "hello" | "bye", page}  {t: "ack", page, seq}  {t: "lib?", page}
const G = (globalThis.__streamlab ??= {});
G.page ??= Math.random().toString(36).slice(2) + Date.now().toString(36);
G.charts ??= new Map(); // widget key → state
G.libraries ??= new Map(); // version → {promise, resolve}

// ---------------------------------------------------------------- the drawing library

function library(version, ask) {
  let entry = G.libraries.get(version);
  if (!entry) {
    entry = {};
    entry.promise = new Promise((resolve) => (entry.resolve = resolve));
    G.libraries.set(version, entry);
    ask();
  }
  // Whoever asked first may be gone before the answer: ask again as long as somebody waits.
  const again = setInterval(ask, 5000);
  return entry.promise.finally(() => clearInterval(again));
}

async function receiveLibrary(version, buffer) {
  const entry = G.libraries.get(version);
  if (!entry || entry.loading) return;
  entry.loading = true;
  const plain = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(plain).arrayBuffer();
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  entry.resolve(await import(url));
  URL.revokeObjectURL(url);
}

// ---------------------------------------------------------------- decoding

const ARRAYS = {
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array,
  i1: Int8Array, i2: Int16Array, i4: Int32Array,
  f4: Float32Array, f8: Float64Array,
};

function typed(kind, view) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return new ARRAYS[kind](bytes); // a copy is aligned, whatever the message looked like
}

export function decode(part, buffers) {
  const rows = Array.from({ length: part.n }, () => ({}));
  for (const { name, dt, dict, valid, big } of part.columns) {
    const values = typed(dt, buffers.shift());
    const bits = valid ? typed("u1", buffers.shift()) : null;
    for (let i = 0; i < part.n; i++) {
      const there = !bits || (bits[i >> 3] >> (i & 7)) & 1;
      rows[i][name] = !there ? null : dict ? (dict[values[i]] ?? null) : values[i];
    }
    if (big) big[0].forEach((row, at) => (rows[row][name] = big[1][at]));
  }
  return rows;
}

// ---------------------------------------------------------------- one widget in this page

function freshState(model) {
  return {
    model, views: new Set(), feet: new Set(), queue: [], timer: 0,
    rows: new Map(), // data set → (number → row)
    spec: null, specWaiters: [], caption: "",
    frozen: false, gone: false, over: false, watching: false,
    frames: 0,
  };
}

const say = (st, message) => st.model.send({ page: G.page, ...message });

function watch(st) {
  st.watching = true;
  st.rows = new Map(); // differences count from the snapshot that answers
  st.queue = [];
  say(st, { t: "hello" });
}

function unwatch(st) {
  st.watching = false;
  st.queue = [];
  if (!st.gone && !st.over) say(st, { t: "bye" });
}

function receive(st, message, buffers) {
  if (message.t === "lib") return receiveLibrary(message.version, buffers[0]);
  if (message.t === "broken") return caption(st, message.text);
  if (message.t === "over") return over(st);
  if (message.t !== "d" || !st.watching) return;
  st.queue.push([message, [...buffers]]);
  schedule(st);
}

function over(st) {
  st.over = true; // the frame was replaced or closed: the last picture stays, nothing moves it
  st.watching = false;
  caption(st, st.caption);
}

function schedule(st) {
  if (st.timer) return;
  const run = () => flush(st);
  // A hidden page paints nothing and gets no animation frames: a slow trickle is enough.
  st.timer = document.hidden ? setTimeout(run, 1000) : requestAnimationFrame(run);
}

async function flush(st) {
  const queue = st.queue;
  st.queue = [];
  try {
    const steps = new Map();
    for (const [message, buffers] of queue) take(st, message, buffers, steps);
    for (const view of st.views) await view.apply(steps);
  } catch (error) {
    caption(st, `✖ this page could not draw it: ${error.message ?? error}`);
  }
  st.frames += queue.length;
  const last = queue.at(-1)?.[0];
  // Each answer costs the page a status round: the kernel says when it needs one.
  if (st.watching && queue.some(([message]) => message.ack)) say(st, { t: "ack", seq: last.seq });
  st.timer = 0;
  if (st.queue.length) schedule(st);
}

function take(st, message, buffers, steps) {
  if (message.spec && !st.spec) {
    st.spec = message.spec;
    for (const wake of st.specWaiters.splice(0)) wake(st.spec);
  }
  for (const part of message.parts) {
    const ids = typed("u4", buffers.shift());
    const gone = typed("u4", buffers.shift());
    const rows = decode(part, buffers);
    if (part.to && !part.to.includes(G.page)) continue;
    if (part.but && part.but.includes(G.page)) continue;
    if (!part.reset && !st.rows.has(part.name)) continue;
    follow(st, part, ids, gone, rows, steps);
  }
  if (message.caption !== undefined) caption(st, message.caption);
}

function follow(st, part, ids, gone, rows, steps) {
  let step = steps.get(part.name);
  if (!step || part.reset) {
    step = { reset: part.reset, gone: new Set(), come: new Map() };
    steps.set(part.name, step);
  }
  if (part.reset) st.rows.set(part.name, new Map());
  const known = st.rows.get(part.name);
  for (const id of gone) {
    known.delete(id);
    step.come.delete(id);
    step.gone.add(id);
  }
  ids.forEach((id, at) => {
    known.set(id, rows[at]);
    step.come.set(id, rows[at]);
  });
}

function caption(st, text) {
  st.caption = text;
  for (const foot of st.feet) foot();
}

// ---------------------------------------------------------------- one view

function look(el) {
  // The page's own text colour says whether it is light or dark, in any front end.
  const ink = getComputedStyle(el).color;
  const [r, g, b] = (ink.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  const dark = (r + g + b) / 3 > 128;
  const soft = `rgba(${r},${g},${b},0.12)`;
  const text = { labelColor: ink, titleColor: ink };
  return {
    dark,
    config: {
      background: "transparent",
      axis: { ...text, gridColor: soft, domainColor: soft, tickColor: soft },
      legend: text,
      header: text,
      title: { color: ink, subtitleColor: ink },
      view: { stroke: soft },
      style: { "guide-label": { fill: ink }, "guide-title": { fill: ink } },
    },
  };
}

async function draw(st, el) {
  const spec = st.spec ?? (await new Promise((wake) => st.specWaiters.push(wake)));
  const version = st.model.get("library");
  const { embed, vega } = await library(version, () => say(st, { t: "lib?" }));
  const { dark, config } = look(el);
  const { view, finalize } = await embed(el, structuredClone(spec), {
    actions: false,
    renderer: "canvas",
    logLevel: vega.Error,
    tooltip: { theme: dark ? "dark" : "light" },
    config,
  });
  const tuples = new Map();
  let sized = 0;

  async function apply(steps) {
    let reset = false;
    for (const [name, step] of steps) {
      reset ||= step.reset;
      change(name, step);
    }
    // Titles, labels and legends are laid out once, on the empty chart: do it again.
    if (reset || performance.now() - sized > 1000) {
      view.resize();
      sized = performance.now();
    }
    await view.runAsync();
  }

  function change(name, step) {
    const changes = vega.changeset();
    const mine = tuples.get(name) ?? tuples.set(name, new Map()).get(name);
    const out = [];
    if (step.reset) {
      changes.remove(vega.truthy);
      mine.clear();
    }
    for (const id of [...step.gone, ...step.come.keys()]) {
      if (mine.has(id)) out.push(mine.get(id));
      mine.delete(id);
    }
    const come = [];
    for (const [id, row] of step.come) {
      const copy = { ...row };
      mine.set(id, copy);
      come.push(copy);
    }
    if (out.length) changes.remove(out);
    view.change(name, changes.insert(come));
  }

  return { view, apply, finalize };
}

function everything(st) {
  const steps = new Map();
  for (const [name, rows] of st.rows) steps.set(name, { reset: true, gone: new Set(), come: rows });
  return steps;
}

function foot(st, el) {
  const line = document.createElement("div");
  line.className = "sl-foot";
  const freeze = document.createElement("button");
  freeze.className = "sl-button";
  const words = document.createElement("span");
  words.className = "sl-caption";
  line.append(freeze, words);
  el.append(line);

  freeze.onclick = () => {
    st.frozen = !st.frozen;
    if (st.frozen) {
      st.frozenAt = new Date();
      unwatch(st);
    } else watch(st);
    caption(st, st.caption);
  };
  const show = () => {
    const at = (st.frozenAt ?? new Date()).toISOString().replace("T", " ").slice(0, 19);
    freeze.hidden = st.gone || st.over;
    freeze.textContent = st.frozen ? "Go on" : "Freeze";
    freeze.title = st.frozen ? "Show the newest again" : "Hold this picture; the stream goes on";
    el.classList.toggle("sl-gone", st.gone);
    words.textContent = st.gone
      ? `frozen ${at} UTC (kernel gone)`
      : st.frozen ? `❄ view frozen ${at} UTC` : st.caption;
  };
  st.feet.add(show);
  show();
  return () => st.feet.delete(show);
}

function kernelGone(st) {
  if (st.gone) return;
  st.gone = true;
  st.watching = false;
  st.frozenAt ??= new Date();
  caption(st, st.caption);
}

function initialize({ model }) {
  const st = freshState(model);
  G.charts.set(model.get("key"), st);
  const heard = (message, buffers) => receive(st, message, buffers);
  const live = () => kernelGone(st);
  const left = () => st.watching && say(st, { t: "bye" });
  model.on("msg:custom", heard);
  model.on("comm_live_update", live);
  addEventListener("pagehide", left);
  return () => {
    model.off("msg:custom", heard);
    model.off("comm_live_update", live);
    removeEventListener("pagehide", left);
    if (G.charts.get(model.get("key")) === st) G.charts.delete(model.get("key"));
  };
}

async function render({ model, el }) {
  const st = G.charts.get(model.get("key"));
  el.classList.add("sl-chart");
  const canvas = document.createElement("div");
  canvas.className = "sl-canvas";
  el.append(canvas);
  const noFoot = foot(st, el);
  st.mounted = (st.mounted ?? 0) + 1;
  if (!st.watching && !st.frozen && !st.over && !st.gone) watch(st);
  let over = false;
  let mine = null;

  draw(st, canvas).then(async (drawn) => {
    if (over) return drawn.finalize();
    mine = drawn;
    st.views.add(mine); // before anything is awaited: no difference may pass by
    await mine.apply(everything(st));
    el.dataset.streamlab = "ready";
  }).catch((error) => caption(st, `✖ this page could not draw it: ${error.message ?? error}`));

  return () => {
    over = true;
    noFoot();
    st.mounted -= 1;
    if (mine) {
      st.views.delete(mine);
      mine.finalize();
    }
    if (!st.mounted && st.watching) unwatch(st);
  };
}

export default { initialize, render };
