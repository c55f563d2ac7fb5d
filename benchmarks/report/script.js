/* What a report does beyond lying there: theme, tabs, sorting, looking closer at a network. Without it everything is shown. */
"use strict";

function theme() {
  const button = document.getElementById("theme");
  const names = ["auto", "light", "dark"];
  let at = 0;
  button.hidden = false;
  button.addEventListener("click", () => {
    at = (at + 1) % names.length;
    button.textContent = `Theme: ${names[at]}`;
    if (at) document.documentElement.dataset.theme = names[at];
    else delete document.documentElement.dataset.theme;
  });
}

/* One panel of a group is shown; arrow keys go from tab to tab, as the ARIA practice for tabs has it. */
function tabs(group) {
  const panels = [...group.querySelectorAll(":scope > .panel")];
  const list = document.createElement("div");
  list.className = "tablist";
  list.setAttribute("role", "tablist");
  list.setAttribute("aria-label", group.dataset.name);
  const buttons = panels.map((panel) => {
    const button = document.createElement("button");
    button.type = "button";
    button.id = `tab-${panel.id}`;
    button.textContent = panel.dataset.title;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", button.id);
    list.append(button);
    return button;
  });
  const show = (index) => {
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", String(i === index));
      button.tabIndex = i === index ? 0 : -1;
      panels[i].classList.toggle("away", i !== index);
    });
  };
  buttons.forEach((button, index) => {
    button.addEventListener("click", () => show(index));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (index + step + buttons.length) % buttons.length;
      show(next);
      buttons[next].focus();
      event.preventDefault();
    });
  });
  group.prepend(list);
  group.classList.add("live");
  show(0);
}

/* Rows in the order of a column: numbers by size, the largest first, everything else by its letters. */
function sortable(table) {
  const body = table.tBodies[0];
  const number = (text) => parseFloat(text.replace(/[,%✓✗●○\s]/g, "").replace("−", "-"));
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") !== "descending";
      const rows = [...body.rows];
      const text = (row) => row.cells[column].textContent.trim();
      const numeric = rows.some((row) => !Number.isNaN(number(text(row))));
      const worth = (row) => (Number.isNaN(number(text(row))) ? -Infinity : number(text(row)));
      rows.sort((a, b) => (numeric ? worth(a) - worth(b) : text(a).localeCompare(text(b))));
      body.append(...(falling ? rows.reverse() : rows));
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    });
  });
}

/* Moves and scales a picture by its viewBox: buttons, keys, dragging, and the wheel with Ctrl. */
function zoomable(frame) {
  const svg = frame.querySelector("svg");
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  let view = { x: 0, y: 0, scale: 1 };
  const box = svg.getBoundingClientRect();
  const high = Math.max((box.width * height) / width, Math.min(260, height));
  svg.style.height = `${high}px`;
  const ratio = high / box.width;
  const draw = () => {
    const wide = width / view.scale;
    view.x = Math.min(Math.max(view.x, 0), width - wide);
    view.y = Math.min(Math.max(view.y, 0), Math.max(0, height - wide * ratio));
    svg.setAttribute("viewBox", [view.x, view.y, wide, wide * ratio].map((number) => Number(number.toFixed(2))).join(" "));
  };
  const zoom = (factor, x = 0.5, y = 0.5) => {
    const before = view.scale;
    view.scale = Math.min(Math.max(before * factor, 1), 12);
    view.x += (width * x) * (1 / before - 1 / view.scale);
    view.y += (width * ratio * y) * (1 / before - 1 / view.scale);
    draw();
  };
  const move = (x, y) => {
    view.x += (x * width) / view.scale;
    view.y += (y * width * ratio) / view.scale;
    draw();
  };
  const all = () => {
    view = { x: 0, y: 0, scale: 1 };
    draw();
  };
  const keys = {
    ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0), ArrowUp: () => move(0, -0.1), ArrowDown: () => move(0, 0.1),
    "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: all,
  };
  frame.addEventListener("keydown", (event) => {
    if (event.target !== frame || event.ctrlKey || event.metaKey || !keys[event.key]) return;
    keys[event.key]();
    event.preventDefault();
  });
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    const at = svg.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, (event.clientX - at.left) / at.width, (event.clientY - at.top) / at.height);
    event.preventDefault();
  }, { passive: false });
  let held = null;
  svg.addEventListener("pointerdown", (event) => { if (view.scale > 1) held = event; });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    const at = svg.getBoundingClientRect();
    move((held.clientX - event.clientX) / at.width, (held.clientY - event.clientY) / at.height);
    held = event;
  });
  for (const end of ["pointerup", "pointerleave"]) svg.addEventListener(end, () => { held = null; });
  const bar = document.createElement("div");
  bar.className = "zoombar";
  for (const [text, name, act] of [["+", "Zoom in", () => zoom(1.4)], ["−", "Zoom out", () => zoom(1 / 1.4)], ["⤢", "Show all", all]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", name);
    button.title = name;
    button.addEventListener("click", act);
    bar.append(button);
  }
  frame.prepend(bar);
  if (box.width < 600) zoom(2.4, 0, 0);
}

theme();
document.querySelectorAll(".tabs").forEach(tabs);
document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll(".zoom").forEach(zoomable);
