"use strict";
// The server draws the live part of a page; a section that has changed takes the place of the one shown.
const live = document.getElementById("live");
if (live) {
  const source = new EventSource(live.dataset.events);
  const shown = new Map();
  source.addEventListener("page", (event) => {
    document.body.classList.remove("lost");
    const drawn = [...new DOMParser().parseFromString(event.data, "text/html").body.children];
    const names = (parts) => parts.map((part) => part.id).join();
    const text = new Map(drawn.map((part) => [part.id, part.outerHTML]));
    if (names(drawn) !== names([...live.children])) {
      live.replaceChildren(...drawn);
    } else {
      for (const part of drawn) {
        const old = document.getElementById(part.id);
        if (text.get(part.id) === shown.get(part.id)) continue;
        const open = [...old.querySelectorAll("details")].map((each) => each.open);
        part.querySelectorAll("details").forEach((each, place) => { each.open = Boolean(open[place]); });
        old.replaceWith(part);
      }
    }
    for (const [name, html] of text) shown.set(name, html);
  });
  source.addEventListener("error", () => {
    document.body.classList.add("lost");
    // Closed for good, as when the session has ended: the page itself leads to the login.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
}
