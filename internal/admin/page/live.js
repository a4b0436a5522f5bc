// Keeps the status page fresh. Without it the page is whole, and as old as it is.
"use strict";
(() => {
  const note = document.getElementById("live");
  const pause = document.getElementById("pause");
  if (!note || !pause || !window.EventSource) return;
  const waiting = new Map();
  let source = null;
  let timer = 0;
  let paused = false;

  const say = (text) => { if (note.textContent !== text) note.textContent = text; };

  // What somebody reads with the keyboard or has marked is left alone until they go on.
  const inUse = (section) => {
    const marked = document.getSelection();
    return section.contains(document.activeElement) ||
      (marked && !marked.isCollapsed && marked.containsNode(section, true));
  };

  const show = () => {
    for (const [id, html] of waiting) {
      const section = document.getElementById(id);
      if (section && inUse(section)) continue;
      waiting.delete(id);
      if (!section) continue;
      const open = Array.from(section.querySelectorAll("details"), (d) => d.open);
      const scrolled = Array.from(section.querySelectorAll(".scroll, pre"), (e) => e.scrollTop);
      section.innerHTML = html;
      section.querySelectorAll("details").forEach((d, i) => { d.open = Boolean(open[i]); });
      section.querySelectorAll(".scroll, pre").forEach((e, i) => { e.scrollTop = scrolled[i] || 0; });
    }
  };

  const close = () => {
    clearTimeout(timer);
    if (source) source.close();
    source = null;
  };

  const open = () => {
    close();
    if (paused || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("open", () => say("Live."));
    source.addEventListener("sections", (event) => {
      for (const [id, html] of Object.entries(JSON.parse(event.data))) waiting.set(id, html);
      show();
    });
    source.addEventListener("error", () => {
      say("Not live: trying again.");
      if (source && source.readyState === EventSource.CLOSED) timer = setTimeout(open, 10000);
    });
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (paused) say("Paused.");
    open();
  });
  document.addEventListener("visibilitychange", open);
  document.addEventListener("focusout", () => setTimeout(show, 0));
  open();
})();
