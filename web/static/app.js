// Comfort, nothing more: every page works without it.
"use strict";

// Ask before what can't be taken back.
document.addEventListener("submit", (event) => {
  const sure = event.target.dataset.sure;
  if (sure && !window.confirm(sure)) event.preventDefault();
});

// A filter that is chosen is applied.
document.addEventListener("change", (event) => {
  if (event.target.matches("form[data-filters] select, form[data-filters] input[type=date]")) {
    event.target.form.requestSubmit();
  }
});

// <form data-go-on> is sent by itself, the next of many portions, until somebody leaves the page.
const onwards = document.querySelector("form[data-go-on]");
if (onwards) setTimeout(() => onwards.requestSubmit(onwards.querySelector("button")), 700);

// <main data-refresh="10"> is fetched again every so many seconds while it is looked at.
const main = document.querySelector("main[data-refresh]");
if (main) {
  const busy = () => document.hidden || main.contains(document.activeElement) || !getSelection().isCollapsed;
  setInterval(async () => {
    if (busy()) return;
    const answer = await fetch(location.href, { headers: { "X-Refresh": "1" } }).catch(() => null);
    if (answer && answer.redirected) location.reload(); // the session has ended: ask to sign in
    if (!answer || !answer.ok || answer.redirected || busy()) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (fresh) main.replaceChildren(...fresh.childNodes);
  }, 1000 * Number(main.dataset.refresh));
}
