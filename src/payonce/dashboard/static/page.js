// What scripts add to pages that work without them: how long ago, copying, the pause of live regions, "/" for the search box. No page needs any of it to be read or to act.

const MINUTE = 60, HOUR = 3600, DAY = 86400;

function ago(seconds) {
  const past = seconds >= 0, s = Math.abs(seconds);
  let text;
  if (s < 10) return past ? "just now" : "in a moment";
  if (s < MINUTE) text = `${Math.round(s / 10) * 10} s`;
  else if (s < HOUR) text = `${Math.round(s / MINUTE)} min`;
  else if (s < 2 * DAY) text = `${Math.round(s / HOUR)} h`;
  else text = `${Math.round(s / DAY)} d`;
  return past ? `${text} ago` : `in ${text}`;
}

// As an attribute, which the style sheet shows: the text of the page stays as the server sent it.
function tellTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-time]")) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at)) continue;
    const text = ago((Date.now() - at) / 1000).replaceAll(" ", "\u00a0"); // breaks before it, never within
    if (time.dataset.ago !== text) time.dataset.ago = text;
  }
}

function showCopies(root = document) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("button[data-copy][hidden]")) button.hidden = false;
}

const said = document.querySelector("[data-said]");
function say(text) {
  if (said) said.textContent = text;
}

// --- live regions ---------------------------------------------------------------------------------------------------

const pause = document.querySelector("[data-pause]");
const KEPT = "payonce-paused";
let paused = sessionStorage.getItem(KEPT) === "yes";

function showPause() {
  if (!pause) return;
  pause.hidden = !document.querySelector("[data-live]");
  pause.setAttribute("aria-pressed", String(paused));
  pause.querySelector("[data-pause-label]").textContent = paused ? "Updates are paused" : "Pause updates";
}

pause?.addEventListener("click", () => {
  paused = !paused;
  sessionStorage.setItem(KEPT, paused ? "yes" : "no");
  showPause();
  say(paused ? "Updates are paused." : "Updates go on.");
});

// Nothing is asked while it is paused, while nobody looks, or while somebody is at work inside the region.
document.addEventListener("htmx:before:request", (event) => {
  const region = event.target instanceof Element ? event.target.closest("[data-live]") : null;
  if (!region) return;
  const busy = region.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
  const marked = !getSelection().isCollapsed && region.contains(getSelection().anchorNode);
  if (paused || document.hidden || busy || marked) event.preventDefault();
});

// A failure leaves what is shown, and says that it is old.
document.addEventListener("htmx:after:request", (event) => {
  const ctx = event.detail?.ctx, region = event.target instanceof Element ? event.target.closest("[data-live]") : null;
  if (!region || !ctx?.response) return;
  const failed = ctx.response.status >= 400;
  region.classList.toggle("stale", failed);
  if (failed && ctx.response.status !== 401) event.preventDefault();
});
document.addEventListener("htmx:error", (event) => {
  if (event.target instanceof Element) event.target.closest("[data-live]")?.classList.add("stale");
});

let focused = null;
document.addEventListener("htmx:before:swap", () => {
  const active = document.activeElement;
  focused = active && active.id ? active.id : null;
});
document.addEventListener("htmx:after:swap", () => {
  tellTimes();
  showCopies();
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus({ preventScroll: true });
});

// --- the rest ---------------------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("button[data-copy]") : null;
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  say("Copied.");
  setTimeout(() => button.classList.remove("done"), 1200);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.matches("input, textarea, select, [contenteditable]")) return;
  const box = document.querySelector("[data-search]");
  if (!box) return;
  event.preventDefault();
  box.focus();
  box.select();
});

// A form is sent once: a second click does nothing (its key would see to that, too).
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload(); // what "back" brings from memory may be older than the end of the session
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

tellTimes();
showCopies();
showPause();
setInterval(tellTimes, 5000);
