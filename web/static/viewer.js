// Slices by wheel, keys and touch; the window by dragging. Without it the page's links do both.
"use strict";

(() => {
  const viewer = document.getElementById("viewer");
  const byId = (id) => document.getElementById(id);
  const [screen, picture, told] = [byId("screen"), byId("picture"), byId("told")];
  const AHEAD = 3; // slices that are fetched before they are asked for
  const SETTLE_MS = 80; // of a drag, before its picture is asked for
  const AGAIN_MS = 700; // until one that was turned away asks again
  const TOUCH_PIXELS = 10; // of a finger's way, for a slice
  const [NOTCH_PIXELS, NOTCH_LINES] = [100, 3]; // of the wheel, for a slice

  const slices = viewer.dataset.slices.split(",").flatMap((run) => {
    const [instance, frames, version] = run.split(":").map(Number);
    return Array.from({ length: frames }, (_, n) => ({ instance, frame: n + 1, version }));
  });
  let at = Number(viewer.dataset.at); // from 1
  let way = 1; // where one is scrolling to
  let wanted = viewer.dataset.window ? numbers(viewer.dataset.window) : null; // null: its own
  let own = null; // the window that the picture came with
  let loading = false;
  let stale = false;
  let typing = false; // what stands in the form is somebody's, until it is sent

  function numbers(text) {
    const [center, width] = text.split(" ").map(Number);
    return { center, width };
  }

  const neat = (value) => String(Math.round(value * 100) / 100);

  function address(number) {
    const { instance, frame, version } = slices[number - 1];
    const asked = wanted ? `&center=${neat(wanted.center)}&width=${neat(wanted.width)}` : "";
    return `/instances/${instance}/frames/${frame}.png?v=${version}${asked}`;
  }

  // One picture at a time: whoever scrolls fast skips what would come too late.
  async function load() {
    stale = true;
    if (loading) return;
    loading = true;
    while (stale) {
      stale = false;
      await show(address(at));
    }
    loading = false;
    for (let n = 1; n <= AHEAD && !stale; n++) {
      const next = at + way * n;
      if (next >= 1 && next <= slices.length) await fetch(address(next)).catch(() => null);
    }
  }

  async function show(url) {
    const answer = await fetch(url).catch(() => null);
    if (answer && answer.status === 503) {
      await new Promise((wake) => setTimeout(wake, AGAIN_MS));
      stale = true;
      return;
    }
    if (!answer || !answer.ok || answer.redirected) {
      picture.hidden = true;
      told.textContent = answer && answer.status === 422 ? await answer.text() : "The picture can't be fetched just now.";
      return;
    }
    await answer.blob();
    told.textContent = "";
    picture.src = url; // from the browser's cache
    await picture.decode().catch(() => null);
    picture.hidden = false;
    const window = answer.headers.get("X-Window");
    if (!wanted) own = window ? numbers(window) : null;
    label();
  }

  function label() {
    const shown = wanted || own;
    byId("at").textContent = at;
    byId("window").textContent = shown ? `C ${neat(shown.center)} W ${neat(shown.width)}` : "";
    if (!typing) {
      byId("slice").value = at;
      byId("center").value = shown ? neat(shown.center) : "";
      byId("width").value = shown ? neat(shown.width) : "";
    }
    picture.alt = `Slice ${at} of ${slices.length}`;
    const { instance } = slices[at - 1];
    byId("instance").href = byId("instance").dataset.path + instance;
    byId("header").href = `${byId("header").dataset.path}${instance}/header`;
    for (const [id, to] of Object.entries(places())) {
      const off = to === at;
      byId(id).classList.toggle("disabled", off);
      byId(id).setAttribute("aria-disabled", off);
      byId(id).href = query(to);
    }
    history.replaceState(null, "", query(at));
  }

  const bounded = (number) => Math.min(Math.max(number, 1), slices.length);
  const places = () => ({ first: 1, before: bounded(at - 1), next: bounded(at + 1), last: slices.length });

  function query(number) {
    return `?at=${number}` + (wanted ? `&center=${neat(wanted.center)}&width=${neat(wanted.width)}` : "");
  }

  function go(to) {
    const next = bounded(to);
    if (next === at) return;
    way = next > at ? 1 : -1;
    at = next;
    typing = false;
    label();
    load();
  }

  let settling = 0;
  function setWindow(window) {
    typing = false;
    wanted = window && { center: window.center, width: Math.max(window.width, 0.01) };
    label();
    clearTimeout(settling);
    settling = setTimeout(load, SETTLE_MS);
  }

  // How much a pixel, or a key, changes: in proportion to what is shown.
  const step = (window) => Math.max(window.width / 256, 0.01);

  screen.classList.add("live");
  screen.tabIndex = 0;
  screen.setAttribute("role", "group");
  screen.setAttribute("aria-label", "Picture; arrow keys change the slice, with Shift the window");
  byId("how").hidden = false;
  screen.focus({ preventScroll: true });

  let turned = 0; // notches of the wheel that are no whole slice yet
  screen.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;
    event.preventDefault();
    turned += event.deltaY / (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? NOTCH_PIXELS : NOTCH_LINES);
    const whole = Math.trunc(turned);
    turned -= whole;
    go(at + whole);
  }, { passive: false });

  const TURNS = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
  const SHIFTS = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  screen.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const shown = wanted || own;
    if (event.shiftKey && event.key in SHIFTS) {
      const [center, width] = SHIFTS[event.key].map((by) => by * 8);
      if (shown) setWindow({ center: shown.center + center * step(shown), width: shown.width + width * step(shown) });
    } else if (event.key in TURNS) go(at + TURNS[event.key]);
    else if (event.key === "Home") go(1);
    else if (event.key === "End") go(slices.length);
    else if (event.key === "Escape") setWindow(null);
    else return;
    event.preventDefault();
  });

  let drag = null;
  screen.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, at, window: wanted || own, touch: event.pointerType === "touch" };
    screen.setPointerCapture(event.pointerId);
  });
  screen.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
    if (drag.touch) go(drag.at + Math.trunc(y / TOUCH_PIXELS));
    else if (drag.window && (x || y)) {
      const by = step(drag.window);
      setWindow({ center: drag.window.center + y * by, width: drag.window.width + x * by });
    }
  });
  for (const end of ["pointerup", "pointercancel"]) screen.addEventListener(end, () => { drag = null; });
  screen.addEventListener("dblclick", () => setWindow(null));

  // The links and the form do the same as before, without a new page.
  viewer.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (link.id in places()) go(places()[link.id]);
    else if (link.id === "reset") setWindow(null);
    else if (link.dataset.preset) setWindow(numbers(link.dataset.preset));
    else return;
    event.preventDefault();
  });
  byId("set").addEventListener("input", () => { typing = true; });
  byId("set").addEventListener("submit", (event) => {
    event.preventDefault();
    const [center, width] = [byId("center").value, byId("width").value];
    const to = bounded(Number(byId("slice").value) || at);
    if (center !== "" && Number(width) > 0) wanted = { center: Number(center), width: Number(width) };
    if (to !== at) go(to);
    else setWindow(wanted);
  });

  load();
})();
