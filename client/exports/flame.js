
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const ROW = 20;
  const PADDING = 4;
  const LEAST_PIXELS = 1;
  const byId = (id) => document.getElementById(id);
  const graph = byId("graph");
  const tip = byId("tip");

  // A frame is as wide as its own time and the frames in it, also those that the page leaves out.
  const frames = data.frames.map(([name, outer, count, total, own], index) => ({
    index, name: data.names[name], outer, count, total, own, inner: [], depth: 0, begin: 0, width: total,
  }));
  for (const frame of frames) {
    if (frame.outer >= 0) {
      frame.depth = frames[frame.outer].depth + 1;
      frames[frame.outer].inner.push(frame);
    }
  }
  for (let at = frames.length - 1; at >= 0; at--) {
    const inside = frames[at].inner.reduce((sum, one) => sum + one.width, 0);
    frames[at].width = Math.max(frames[at].total, inside);
  }
  for (const frame of frames) {
    let begin = frame.begin;
    for (const one of frame.inner) {
      one.begin = begin;
      begin += one.width;
    }
  }
  const whole = frames[0];
  let zoomed = whole;
  let focused = whole;
  let sought = "";

  const number = (value) => value.toLocaleString("en-US");
  const seconds = (us) =>
    us < 1e3 ? `${number(us)} us` : us < 1e6 ? `${(us / 1e3).toPrecision(4)} ms` : `${number(+(us / 1e6).toFixed(3))} s`;
  const share = (part, all) => `${all ? ((100 * part) / all).toFixed(2) : "0.00"} %`;
  const time = (us) => new Date(us / 1e3).toISOString().replace("T", " ").replace("Z", "");

  function hue(name) {
    let value = 7;
    for (const letter of name) value = (value * 31 + letter.codePointAt(0)) >>> 0;
    return value % 360;
  }

  function about(frame) {
    const calls = `${number(frame.count)} ${frame.count === 1 ? "call" : "calls"}`;
    return [
      frame.name,
      `${calls}, ${seconds(frame.total)} in all, ${share(frame.total, whole.total)} of the whole`,
      `${seconds(frame.own)} outside of the calls in it`,
    ].join("\n");
  }

  function matches(frame) {
    return sought !== "" && frame.name.toLowerCase().includes(sought);
  }

  function outers(frame) {
    const found = [];
    for (let one = frame; one.outer >= 0; one = frames[one.outer]) found.unshift(frames[one.outer]);
    return found;
  }

  function place(frame, left, width, isOuter) {
    const element = document.createElement("button");
    element.type = "button";
    element.className = "frame";
    element.classList.toggle("outer", isOuter);
    element.classList.toggle("narrow", width < 2 * PADDING);
    element.classList.toggle("found", matches(frame));
    element.dataset.index = frame.index;
    element.setAttribute("role", "treeitem");
    element.setAttribute("aria-level", frame.depth + 1);
    element.setAttribute("aria-label", about(frame));
    element.tabIndex = frame === focused ? 0 : -1;
    element.textContent = frame.name;
    element.style.left = `${left}px`;
    element.style.width = `${width}px`;
    element.style.top = `${frame.depth * ROW}px`;
    element.style.setProperty("--hue", hue(frame.name));
    graph.append(element);
    return frame.depth;
  }

  function draw() {
    const room = graph.clientWidth;
    const scale = zoomed.width ? room / zoomed.width : 0;
    graph.replaceChildren();
    let deepest = 0;
    for (const outer of outers(zoomed)) place(outer, 0, room, true);
    const pending = [zoomed];
    while (pending.length) {
      const frame = pending.pop();
      const width = frame === zoomed ? room : frame.width * scale;
      if (width < LEAST_PIXELS) continue;
      deepest = Math.max(deepest, place(frame, (frame.begin - zoomed.begin) * scale, width, false));
      for (const one of frame.inner) pending.push(one);
    }
    graph.style.height = `${(deepest + 1) * ROW}px`;
    drawPath();
  }

  function drawPath() {
    const path = byId("path");
    path.replaceChildren();
    for (const frame of [...outers(zoomed), zoomed]) {
      const element = document.createElement("button");
      element.type = "button";
      element.textContent = frame.name;
      if (frame === zoomed) element.setAttribute("aria-current", "true");
      element.addEventListener("click", () => zoom(frame));
      path.append(element);
    }
  }

  function zoom(frame) {
    zoomed = frame;
    focused = frame;
    tip.hidden = true;
    draw();
  }

  function focus(frame) {
    if (!frame) return;
    const elementOf = (one) => graph.querySelector(`[data-index="${one.index}"]`);
    const element = elementOf(frame);
    if (!element) return;
    const before = elementOf(focused);
    if (before) before.tabIndex = -1;
    focused = frame;
    element.tabIndex = 0;
    element.focus();
  }

  function beside(frame, step) {
    if (frame.outer < 0) return null;
    const inner = frames[frame.outer].inner;
    return inner[inner.indexOf(frame) + step];
  }

  function frameOf(event) {
    const element = event.target.closest(".frame");
    return element && frames[Number(element.dataset.index)];
  }

  function showTip(frame, x, y) {
    tip.textContent = about(frame);
    tip.hidden = false;
    tip.style.left = `${Math.max(0, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(0, Math.min(y + 16, innerHeight - tip.offsetHeight - 8))}px`;
  }

  function search(text) {
    sought = text.trim().toLowerCase();
    let count = 0;
    let spent = 0;
    // What lies in a frame that was found is a part of its time.
    const inFound = new Set();
    for (const frame of frames) {
      const around = frame.outer >= 0 && inFound.has(frame.outer);
      if (matches(frame)) {
        count += 1;
        if (!around) spent += frame.total;
        inFound.add(frame.index);
      } else if (around) inFound.add(frame.index);
    }
    byId("found").textContent = sought
      ? `${number(count)} ${count === 1 ? "frame" : "frames"}, ${share(spent, whole.total)} of the time`
      : "";
    draw();
  }

  graph.addEventListener("click", (event) => {
    const frame = frameOf(event);
    if (frame) {
      zoom(frame);
      focus(frame);
    }
  });
  graph.addEventListener("mousemove", (event) => {
    const frame = frameOf(event);
    if (frame) showTip(frame, event.clientX, event.clientY);
    else tip.hidden = true;
  });
  graph.addEventListener("mouseleave", () => { tip.hidden = true; });
  graph.addEventListener("focusin", (event) => {
    const frame = frameOf(event);
    if (!frame || !event.target.matches(":focus-visible")) return;
    const place = event.target.getBoundingClientRect();
    showTip(frame, place.left, place.bottom);
  });
  graph.addEventListener("focusout", () => { tip.hidden = true; });
  graph.addEventListener("keydown", (event) => {
    const frame = frameOf(event);
    const next = frame && {
      ArrowUp: () => frames[frame.outer],
      ArrowDown: () => frame.inner[0],
      ArrowLeft: () => beside(frame, -1),
      ArrowRight: () => beside(frame, 1),
      Home: () => whole,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    focus(next());
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      byId("search").value = "";
      search("");
      zoom(whole);
      focus(whole);
    } else if (event.key === "/" && event.target !== byId("search")) {
      event.preventDefault();
      byId("search").focus();
    }
  });
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("reset").addEventListener("click", () => zoom(whole));
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.classList.contains("dark") ||
      (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
    root.classList.toggle("dark", !isDark);
    root.classList.toggle("light", isDark);
  });
  addEventListener("resize", draw);

  document.title = `Flame graph: ${data.title}`;
  byId("title").textContent = data.title;
  byId("about").textContent =
    `${time(data.begin)} to ${time(data.end)} UTC; ${number(whole.count)} calls, ${seconds(whole.total)} in calls`;
  byId("pruned").textContent = data.hidden
    ? `${number(data.hidden)} more frames, each at most ${(100 * data.least).toPrecision(2)} % of the time, are not in this page.`
    : "";
  byId("summary").textContent =
    `${number(data.process_count)} ${data.process_count === 1 ? "process" : "processes"}` +
    (data.process_count > data.processes.length ? `, of which ${number(data.processes.length)} are listed` : "");
  for (const process of data.processes) {
    const row = document.createElement("tr");
    const cells = [process.id, process.exe, process.host, process.pid, time(process.start), process.cmd];
    for (const text of cells) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    byId("processes").append(row);
  }
  draw();
})();
