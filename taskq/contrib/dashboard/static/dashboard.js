// The pages work without this. With it parts of them stay as things are now, and selecting many jobs is one click.
"use strict";

// Parts of a page that the server sends again when they have changed.
for (const live of document.querySelectorAll("[data-live]")) {
  const dot = document.createElement("span");
  dot.className = "dot";
  const text = document.createElement("span");
  const button = document.createElement("button");
  button.type = "button";
  live.append(dot, text, button);
  const kept = new Map();
  let isPressed = false;
  let source = null;
  let isWanted = true;
  let isOver = false;

  const say = (kind, words) => {
    live.className = "live " + kind;
    if (text.textContent !== words) text.textContent = words;
  };

  const put = (name, html) => {
    // What is pressed must still be there when it is let go of.
    if (isPressed) {
      kept.set(name, html);
      return;
    }
    const part = document.getElementById(name);
    // Not while something in it is typed, chosen or selected.
    const busy = part && part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
    const selection = document.getSelection();
    if (!part || busy || (selection && !selection.isCollapsed && part.contains(selection.anchorNode))) return;
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const marks = focused && [...part.querySelectorAll("a, button, summary, [tabindex]")].indexOf(focused);
    const open = new Map([...part.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
    const scrolled = [...part.querySelectorAll(".scroll, pre")].map((each) => [each.scrollLeft, each.scrollTop]);
    part.innerHTML = html;
    for (const [id, isOpen] of open) {
      const details = document.getElementById(id);
      if (details) details.open = isOpen;
    }
    part.querySelectorAll(".scroll, pre").forEach((each, at) => {
      if (scrolled[at]) [each.scrollLeft, each.scrollTop] = scrolled[at];
    });
    if (focused) {
      const again = part.querySelectorAll("a, button, summary, [tabindex]")[marks];
      if (again) again.focus({ preventScroll: true });
    }
  };

  const letGo = () =>
    setTimeout(() => {
      isPressed = false;
      for (const [name, html] of kept) put(name, html);
      kept.clear();
    }, 100);

  const stop = () => {
    if (source) source.close();
    source = null;
  };

  const start = () => {
    if (source || isOver || !isWanted || document.hidden) return;
    source = new EventSource(live.dataset.live);
    source.addEventListener("alive", () => say("on", "Live"));
    source.addEventListener("part", (event) => {
      const at = event.data.indexOf("\n");
      put(event.data.slice(0, at), event.data.slice(at + 1));
    });
    source.addEventListener("away", () => say("away", "The database is away"));
    source.addEventListener("over", () => {
      isOver = true;
      stop();
      live.remove();
    });
    source.onerror = () => say("away", "Connecting");
  };

  const show = () => {
    button.textContent = isWanted ? "Pause updates" : "Resume updates";
    if (!isWanted) say("still", "Still");
  };

  button.addEventListener("click", () => {
    isWanted = !isWanted;
    if (isWanted) start();
    else stop();
    show();
  });
  document.addEventListener("pointerdown", () => (isPressed = true));
  document.addEventListener("pointerup", letGo);
  document.addEventListener("pointercancel", letGo);
  document.addEventListener("submit", stop);
  // A page that is out of sight costs nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", start);
  say("still", "Connecting");
  show();
  start();
}

// One box that ticks all of a page.
for (const heading of document.querySelectorAll("table.jobs thead th.tick")) {
  const table = heading.closest("table");
  const boxes = () => [...table.querySelectorAll("tbody input[name=id]")];
  const all = document.createElement("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", "Select all jobs of this page");
  heading.replaceChildren(all);
  all.addEventListener("change", () => boxes().forEach((box) => (box.checked = all.checked)));
  table.addEventListener("change", () => {
    const ticked = boxes().filter((box) => box.checked).length;
    all.checked = ticked === boxes().length;
    all.indeterminate = ticked > 0 && ticked < boxes().length;
  });
}

// Addresses are to be shared: what was left empty is not in them.
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input")) if (field.value === "") field.disabled = true;
    setTimeout(() => form.querySelectorAll("input").forEach((field) => (field.disabled = false)));
  });
}
