// The newest rows of a live frame, its status and its failure, drawn anew with each message:
// there are twenty rows at most. Everything is put in as text, never as HTML.
//
// kernel → page   {t: "d", seq, ack, name, steps, columns, rows, size, status, failure, siblings, over}
// page → kernel   {t: "hello" | "bye", page}  {t: "ack", page, seq}  {t: "stop", page}
const G = (globalThis.__streamlab ??= {});
G.page ??= Math.random().toString(36).slice(2) + Date.now().toString(36);
G.tables ??= new Map(); // widget key → state

const say = (st, message) => st.model.send({ page: G.page, ...message });

function watch(st) {
  st.watching = true;
  say(st, { t: "hello" });
}

function unwatch(st) {
  st.watching = false;
  if (!st.gone && !st.over) say(st, { t: "bye" });
}

function receive(st, message) {
  if (message.t === "broken") {
    st.broken = message.text;
  } else if (message.t === "over") {
    st.over = true; // the last table stays, nothing moves it
    st.watching = false;
  } else if (message.t !== "d" || !st.watching) {
    return;
  } else {
    st.last = message;
    st.answer ||= message.ack;
  }
  schedule(st);
}

function schedule(st) {
  if (st.timer) return;
  const run = () => paint(st);
  st.timer = document.hidden ? setTimeout(run, 1000) : requestAnimationFrame(run);
}

function paint(st) {
  st.timer = 0;
  for (const show of st.views) show();
  if (st.watching && st.answer) say(st, { t: "ack", seq: st.last.seq });
  st.answer = false;
}

// ---------------------------------------------------------------- drawing

function put(tag, name, text, parent) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function button(text, title, press, parent) {
  const made = put("button", "sl-button", text, parent);
  made.title = title;
  made.onclick = press;
  return made;
}

function head(st, last, parent) {
  const line = put("div", "sl-head", undefined, parent);
  put("span", "sl-name", last.name, line);
  if (last.steps) put("span", "sl-steps", "· " + last.steps, line);
  const buttons = put("span", "sl-buttons", undefined, line);
  if (st.gone || st.over || last.over) return;
  if (st.asking) {
    const others = last.siblings > 1 ? `${last.siblings} frames hang on it` : "only this frame hangs on it";
    put("span", "", `Stop the source? ${others}.`, buttons);
    button("Stop", "No more records are read; what is here stays", () => {
      st.asking = false;
      say(st, { t: "stop" });
      paint(st);
    }, buttons);
    button("Keep it", "Let it go on", () => {
      st.asking = false;
      paint(st);
    }, buttons);
    return;
  }
  button(
    st.frozen ? "Go on" : "Freeze",
    st.frozen ? "Show the newest again" : "Hold this table; the stream goes on",
    () => freeze(st),
    buttons,
  );
  button("Stop source…", "Stop reading; every frame on this source stops", () => {
    st.asking = true;
    paint(st);
  }, buttons);
}

function freeze(st) {
  st.frozen = !st.frozen;
  if (st.frozen) {
    st.frozenAt = new Date();
    unwatch(st);
  } else watch(st);
  paint(st);
}

function grid(last, parent) {
  const scroll = put("div", "sl-scroll", undefined, parent);
  const table = put("table", "sl-grid", undefined, scroll);
  const top = put("thead", "", undefined, table);
  const names = put("tr", "", undefined, top);
  const types = put("tr", "sl-types", undefined, top);
  for (const { name, type, right } of last.columns) {
    put("th", right ? "sl-right" : "", name, names);
    put("td", right ? "sl-right" : "", type, types);
  }
  const body = put("tbody", "", undefined, table);
  for (const row of last.rows) {
    const line = put("tr", "", undefined, body);
    row.forEach((cell, at) => {
      const right = last.columns[at].right ? "sl-right" : "";
      put("td", cell === null ? `${right} sl-null` : right, cell ?? "null", line);
    });
  }
  put("div", "sl-size", last.size, parent);
}

function stamp(st) {
  return (st.frozenAt ?? new Date()).toISOString().replace("T", " ").slice(0, 19) + " UTC";
}

function status(st, last, parent) {
  const line = put("div", "sl-status", undefined, parent);
  if (st.gone) return put("span", "sl-state", `frozen ${stamp(st)} (kernel gone)`, line);
  if (st.frozen) return put("span", "sl-state", `❄ view frozen ${stamp(st)}`, line);
  for (const { role, text, loud, title } of last.status) {
    const part = put("span", `sl-${role}${loud ? " sl-loud" : ""}`, text, line);
    if (title) part.title = title;
  }
}

function show(st, el) {
  const last = st.last;
  el.classList.toggle("sl-gone", st.gone);
  el.replaceChildren();
  if (st.broken) put("div", "sl-failure", st.broken, el);
  if (!last) return;
  head(st, last, el);
  if (last.failure) put("div", "sl-failure", last.failure, el);
  if (last.columns.length) grid(last, el);
  status(st, last, el);
  el.dataset.streamlab = "ready";
}

function initialize({ model }) {
  const st = {
    model, views: new Set(), timer: 0, last: null, answer: false,
    watching: false, frozen: false, asking: false, gone: false, over: false, mounted: 0,
  };
  G.tables.set(model.get("key"), st);
  const heard = (message) => receive(st, message);
  const live = () => {
    st.gone = true;
    st.watching = false;
    st.frozenAt ??= new Date();
    paint(st);
  };
  const left = () => st.watching && say(st, { t: "bye" });
  model.on("msg:custom", heard);
  model.on("comm_live_update", live);
  addEventListener("pagehide", left);
  return () => {
    model.off("msg:custom", heard);
    model.off("comm_live_update", live);
    removeEventListener("pagehide", left);
    if (G.tables.get(model.get("key")) === st) G.tables.delete(model.get("key"));
  };
}

function render({ model, el }) {
  const st = G.tables.get(model.get("key"));
  el.classList.add("sl-table");
  const mine = () => show(st, el);
  st.views.add(mine);
  st.mounted += 1;
  mine();
  if (!st.watching && !st.frozen && !st.over && !st.gone) watch(st);
  return () => {
    st.views.delete(mine);
    st.mounted -= 1;
    if (!st.mounted && st.watching) unwatch(st);
  };
}

export default { initialize, render };
