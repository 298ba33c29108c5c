"use strict";
/* The case browser: image, truth and predictions side by side, drawn from runs of labels. */
(() => {
  const find = (id) => document.getElementById(id);
  const panels = find("panels");
  const parsed = new Map();
  let data = null;
  let chosen = { case: 0, slice: 0, client: 0 };

  function load(number) {
    if (!parsed.has(number)) parsed.set(number, JSON.parse(find(`cases-${number}`).textContent));
    return parsed.get(number);
  }

  /* Pairs of bytes (label, length) to one label per pixel. */
  function labels(text, size) {
    const bytes = atob(text);
    const map = new Uint8Array(size);
    let at = 0;
    for (let i = 0; i < bytes.length; i += 2) {
      const length = bytes.charCodeAt(i + 1);
      map.fill(bytes.charCodeAt(i), at, at + length);
      at += length;
    }
    return map;
  }

  function colour(label) {
    return data.colours[(label - 1) % data.colours.length];
  }

  function tint(context, map, width, scale) {
    context.globalAlpha = 0.28;
    map.forEach((label, i) => {
      if (!label) return;
      context.fillStyle = colour(label);
      context.fillRect((i % width) * scale, Math.floor(i / width) * scale, scale, scale);
    });
    context.globalAlpha = 1;
  }

  /* The border of each label, along the edges of its pixels. */
  function outline(context, map, width, height, scale, thick, only) {
    for (const label of new Set(map)) {
      if (!label) continue;
      const path = new Path2D();
      const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && map[y * width + x] === label;
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          if (!inside(x, y)) continue;
          const [l, t, r, b] = [x * scale, y * scale, (x + 1) * scale, (y + 1) * scale];
          if (!inside(x - 1, y)) { path.moveTo(l, t); path.lineTo(l, b); }
          if (!inside(x + 1, y)) { path.moveTo(r, t); path.lineTo(r, b); }
          if (!inside(x, y - 1)) { path.moveTo(l, t); path.lineTo(r, t); }
          if (!inside(x, y + 1)) { path.moveTo(l, b); path.lineTo(r, b); }
        }
      }
      context.lineCap = "square";
      context.strokeStyle = "rgba(0, 0, 0, .55)";
      context.lineWidth = thick + 2;
      context.stroke(path);
      context.strokeStyle = only || colour(label);
      context.lineWidth = thick;
      context.stroke(path);
    }
  }

  function overlay(item, truth, prediction) {
    const scale = Math.max(2, Math.ceil(560 / Math.max(item.width, item.height)));
    const canvas = element("canvas", { width: item.width * scale, height: item.height * scale });
    canvas.setAttribute("aria-hidden", "true");
    const context = canvas.getContext("2d");
    if (prediction) {
      if (find("show-tint").checked) tint(context, prediction, item.width, scale);
      outline(context, prediction, item.width, item.height, scale, 3);
    }
    if (truth) outline(context, truth, item.width, item.height, scale, 1.6, "#fff");
    return canvas;
  }

  function number(dice) {
    return dice === null ? "–" : dice.toFixed(2);
  }

  function scores(rows) {
    const list = element("dl", { className: "scores" });
    const known = rows.map((row) => row[1]).filter((dice) => dice !== null);
    const mean = known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
    list.append(element("dt", { className: "total" }, "Dice"), element("dd", { className: "total" }, number(mean)));
    if (rows.length > 1 || rows.some((row) => row[2])) {
      for (const [name, dice, flag] of rows) {
        list.append(element("dt", {}, name), element("dd", {}, flag ? `${flag} ${dice === null ? "" : number(dice)}` : number(dice)));
      }
    }
    return [list, number(mean)];
  }

  function panel(item, title, dot, truth, prediction, rows) {
    const head = element("h4");
    if (dot) {
      const mark = element("span", { className: "dot" });
      mark.style.setProperty("--own", dot);
      head.append(mark);
    }
    head.append(title);
    const image = element("img", { src: item.images[chosen.slice], alt: "" });
    const stack = element("div", { className: "stack" }, image, overlay(item, truth, prediction));
    stack.style.aspectRatio = String(item.aspect);
    stack.setAttribute("role", "img");
    const made = element("div", { className: "panel" }, head, stack);
    let label = `${title}, ${item.id}, slice ${item.slices[chosen.slice]}`;
    if (rows) {
      const [list, mean] = scores(rows);
      made.append(list);
      label += `, Dice ${mean}`;
    } else if (!item.picture && !prediction && !truth) {
      stack.append(element("span", { className: "side" }, "R"), element("span", { className: "side front" }, "A"));
    }
    stack.setAttribute("aria-label", label);
    return made;
  }

  function draw() {
    const item = data.cases[chosen.case];
    const size = item.width * item.height;
    const truth = labels(item.truth[chosen.slice], size);
    const over = find("show-truth").checked ? truth : null;
    const shown = [panel(item, "Image", "", null, null, null), panel(item, "Truth", "", null, truth, null)];
    data.algorithms.forEach((algorithm, i) => {
      const model = item.models[i][chosen.client];
      if (!model) return;
      const prediction = find("show-prediction").checked ? labels(item.maps[model.map][chosen.slice], size) : null;
      const title = algorithm.name + (algorithm.reconstruction ? " (our reconstruction)" : "");
      shown.push(panel(item, title, algorithm.colour, over, prediction, model.scores));
    });
    panels.replaceChildren(...shown);
    const relation = item.relations[chosen.client];
    const parts = [`Patient ${item.patient}, ${item.modality}`];
    if (!item.picture) parts.push(`slice ${item.slices[chosen.slice]}`);
    parts.push(`model of client ${data.clients[chosen.client]}` + (relation ? ` (${relation}-modality)` : ""));
    if (item.reduced > 1) parts.push(`drawn at 1/${item.reduced} of its size`);
    find("about").textContent = parts.join(" · ");
  }

  function open(index) {
    chosen.case = index;
    const item = data.cases[index];
    chosen.slice = item.best;
    find("case").value = String(index);
    find("previous").disabled = index === 0;
    find("next").disabled = index === data.cases.length - 1;
    find("slices").hidden = item.slices.length < 2;
    find("slice").replaceChildren(
      ...item.slices.map((slice, i) => {
        const input = element("input", { type: "radio", name: "slice", value: String(i), checked: i === item.best });
        input.addEventListener("change", () => { chosen.slice = i; draw(); });
        return element("label", { className: "choice" }, input, String(slice));
      }),
    );
    draw();
  }

  function show(condition) {
    data = load(condition);
    find("no-cases").hidden = data !== null;
    for (const part of find("browser").querySelectorAll("#panels, #key, #about, .control:not(:has(.condition-pick))")) {
      part.hidden = data === null;
    }
    if (data === null) return;
    find("case").replaceChildren(...data.cases.map((item, i) => element("option", { value: String(i) }, item.id)));
    find("client").replaceChildren(...data.clients.map((name, i) => element("option", { value: String(i) }, name)));
    find("owner").hidden = data.clients.length < 2;
    find("key").replaceChildren(
      ...data.classes.map((name, i) => {
        const swatch = element("i");
        swatch.style.setProperty("--own", colour(i + 1));
        return element("li", {}, swatch, name);
      }),
    );
    chosen.client = Math.max(0, data.cases[0].relations.indexOf("cross"));
    find("client").value = String(chosen.client);
    open(0);
  }

  find("case").addEventListener("change", (event) => open(Number(event.target.value)));
  find("previous").addEventListener("click", () => open(chosen.case - 1));
  find("next").addEventListener("click", () => open(chosen.case + 1));
  find("client").addEventListener("change", (event) => { chosen.client = Number(event.target.value); draw(); });
  for (const id of ["show-truth", "show-prediction", "show-tint"]) find(id).addEventListener("change", draw);
  find("size").addEventListener("input", (event) => panels.style.setProperty("--panel", `${event.target.value}rem`));
  conditions.listen(show);
  conditions.select(0);
  conditions.reveal();
})();
