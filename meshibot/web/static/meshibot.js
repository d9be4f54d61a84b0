// Makes quick what works without it: keys, forms without a whole new page, a grid's selection, and live parts.
"use strict";
(() => {
  const live = () => document.getElementById("live");
  const main = () => document.getElementById("main");
  const keysOn = () => localStorage.getItem("keys") !== "off";
  let busy = false;

  // A new page in the place of this one: its main part and title, and where it is.
  async function load(url, options, keep) {
    if (busy) return;
    busy = true;
    try {
      const answer = await fetch(url, { credentials: "same-origin", ...options });
      const type = answer.headers.get("content-type") || "";
      if (!type.startsWith("text/html")) { location.assign(answer.url); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      if (!fresh) { location.assign(answer.url); return; }
      const place = options && options.method ? location.href : answer.url;
      if (answer.redirected || !options || !options.method) history.pushState(null, "", answer.redirected ? answer.url : place);
      document.title = page.title;
      main().replaceWith(fresh);
      settle(keep);
    } catch (error) {
      location.reload();
    } finally {
      busy = false;
    }
  }

  // After each change: the note fades, the next picture is fetched ahead, and the focus has a sensible place.
  function settle(keep) {
    const note = document.getElementById("note");
    if (note) {
      live().textContent = note.querySelector("p").textContent;
      setTimeout(() => note.classList.add("faded"), 8000);
    }
    const ahead = document.querySelector("[data-ahead]");
    if (ahead) fetchAhead(ahead.href);
    const box = document.getElementById("keys-on");
    if (box) box.checked = keysOn();
    select();
    if (keep !== false) main().focus({ preventScroll: true });
  }

  const seen = new Set();
  async function fetchAhead(url) {
    if (seen.has(url)) return;
    seen.add(url);
    try {
      const page = new DOMParser().parseFromString(await (await fetch(url)).text(), "text/html");
      const picture = page.querySelector(".review > figure img");
      if (picture) new Image().src = picture.getAttribute("src");
    } catch (error) { /* it is only ahead of time */ }
  }

  document.addEventListener("submit", event => {
    const form = event.target;
    if (!form.matches("[data-quick]") || form.target) return;
    event.preventDefault();
    const fields = new URLSearchParams(new FormData(form, event.submitter));
    load(form.getAttribute("action"), { method: "POST", body: fields });
  });

  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-quick]");
    const modified = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
    if (!link || modified || event.button) return;
    event.preventDefault();
    load(link.href);
  });
  addEventListener("popstate", () => location.reload());

  // Keys are those that elements name. Not in fields, not with a modifier, not while an input method composes.
  document.addEventListener("keydown", event => {
    const undo = event.key === "z" && event.ctrlKey && !event.altKey && !event.metaKey;
    if (!keysOn() || event.isComposing || event.altKey || event.metaKey || (event.ctrlKey && !undo)) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (grid(event)) { event.preventDefault(); return; }
    const named = [...document.querySelectorAll("[data-key]")].find(each => each.dataset.key.split(" ").includes(event.key));
    if (!named) return;
    event.preventDefault();
    named.click();
    if (named.matches(".words > summary") && named.parentElement.open) named.parentElement.querySelector("textarea").focus();
  });

  // The grid: j and k go from picture to picture, x selects, shift-click selects a row of them.
  let last = null;
  const boxes = () => [...document.querySelectorAll("[data-selecting] .pick input")];
  function grid(event) {
    const all = boxes();
    if (!all.length) return false;
    const at = all.indexOf(document.activeElement);
    const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (step) {
      const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
      next.focus();
      next.closest("li").scrollIntoView({ block: "nearest" });
      return true;
    }
    if (event.key === "x") { if (at >= 0) all[at].click(); return true; }
    return false;
  }
  function select() {
    const says = document.getElementById("selected");
    if (says) says.textContent = says.dataset.say.replace("#", boxes().filter(box => box.checked).length);
  }
  document.addEventListener("click", event => {
    const box = event.target;
    if (!box.matches || !box.matches(".pick input")) return;
    const all = boxes();
    if (event.shiftKey && last && all.includes(last)) {
      const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
      all.slice(from, to + 1).forEach(each => { each.checked = box.checked; });
    }
    last = box;
    select();
  });
  document.addEventListener("change", event => {
    if (event.target.id === "keys-on") localStorage.setItem("keys", event.target.checked ? "on" : "off");
    if (event.target.matches(".filters select")) event.target.form.requestSubmit();
  });

  // Live parts, while somebody looks and does nothing else.
  setInterval(() => {
    const wait = Number(main().dataset.poll);
    const typing = main().contains(document.activeElement) && document.activeElement !== main();
    if (!wait || document.hidden || typing || busy) return;
    fetch(location.href).then(answer => answer.ok && !answer.redirected ? answer.text() : null).then(text => {
      const fresh = text && new DOMParser().parseFromString(text, "text/html").getElementById("main");
      const now = main().contains(document.activeElement) && document.activeElement !== main();
      if (fresh && !now) { main().replaceWith(fresh); }
    }).catch(() => {});
  }, 30000);

  settle(false);
})();
