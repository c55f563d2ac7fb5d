/* Follows the history: asks every two seconds whether it changed, and at once when a filter does. */
"use strict";

const PERIOD_MS = 2000;

function follow() {
  const shown = document.getElementById("view");
  const live = document.getElementById("live");
  const filters = () => document.querySelector(".filters");
  const query = () => new URLSearchParams(filters() ? new FormData(filters()) : undefined);
  document.documentElement.classList.add("live");
  let turn = 0;

  const tell = (text, lost) => {
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle("lost", lost);
  };
  const ask = async (known) => {
    const mine = ++turn;
    const asked = query();
    asked.set("state", known);
    try {
      const answer = await (await fetch(`/view?${asked}`)).json();
      if (mine !== turn) return;
      if (answer.fault) return tell(`✗ ${answer.fault}`, true);
      tell("● live", false);
      if (answer.view === undefined) return;
      const held = document.activeElement && document.activeElement.name;
      shown.innerHTML = answer.view;
      shown.dataset.state = answer.state;
      const fresh = document.createElement("div");
      fresh.innerHTML = answer.form;
      if (filters() && filters().innerHTML !== fresh.firstChild.innerHTML) {
        filters().replaceChildren(...fresh.firstChild.childNodes);
        if (held) filters().elements[held]?.focus();
      }
      shown.querySelectorAll("table.sortable").forEach(sortable);
    } catch {
      if (mine === turn) tell("✗ the dashboard has ended", true);
    }
  };
  document.addEventListener("change", (event) => {
    if (!event.target.closest(".filters")) return;
    history.replaceState(null, "", `?${query()}`);
    ask("");
  });
  setInterval(() => { if (!document.hidden) ask(shown.dataset.state); }, PERIOD_MS);
  tell("● live", false);
}

follow();
