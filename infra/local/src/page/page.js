// Brings the parts of the page that change up to date, every other second, unless it is told not to.
// Everything else on the page works without this.
"use strict";
(() => {
  const follow = document.getElementById("follow");
  follow.closest("label").hidden = false;

  const refresh = async () => {
    if (!follow.checked || document.hidden) return;
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const ids = (root) => [...root.querySelectorAll("main > section, [data-live]")].map((part) => part.id).join();
    // A part that is new, as another account's audit trail, comes with the whole page.
    if (ids(document) !== ids(fresh) && document.activeElement === document.body) return location.reload();
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      // What somebody is in the middle of using is left alone.
      if (!next || part.contains(document.activeElement) || part.innerHTML === next.innerHTML) continue;
      const open = [...part.querySelectorAll("details[open]")].map((details) => details.id);
      if (open.length && [...next.querySelectorAll("details")].length === 0) continue;
      part.replaceChildren(...next.childNodes);
      for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    }
  };

  setInterval(() => refresh().catch(() => {}), 2000);
})();
