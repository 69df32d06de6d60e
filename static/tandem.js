// A comfort only: every page works without it.
(function () {
  "use strict";
  function dark() {
    var t = document.documentElement.dataset.theme;
    return t ? t === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function showSwitch() {
    document.querySelectorAll("[data-theme-switch]").forEach(function (b) { b.hidden = false; });
  }
  document.addEventListener("click", function (e) {
    if (!e.target.closest("[data-theme-switch]")) return;
    var next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("tandem-theme", next); } catch (err) { /* holds for this page */ }
  });

  // A question closes by Escape, and when somebody goes on elsewhere: while one is open the page stands still.
  document.addEventListener("keydown", function (e) {
    var open = e.key === "Escape" && document.querySelector("details.ask[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
  });
  document.addEventListener("click", function (e) {
    // What is ticked in the same form belongs to the question.
    document.querySelectorAll("details.ask[open]").forEach(function (d) { if (!(d.closest("form") || d).contains(e.target)) d.open = false; });
  });

  // Each moment says its local time, too.
  function localTimes() {
    document.querySelectorAll("time[data-when]:not([data-local])").forEach(function (t) {
      t.dataset.local = "1";
      t.title += "\n" + new Date(t.dateTime).toLocaleString(document.documentElement.lang);
    });
  }

  var heard = Date.now();
  document.addEventListener("htmx:afterRequest", function (e) { if (e.detail.successful) heard = Date.now(); });
  document.addEventListener("visibilitychange", function () { heard = Date.now(); });

  // A banner is read out when it appears or changes, and not at each exchange of the page.
  var said = null;
  function news() {
    var banner = document.querySelector("[data-banner]"), region = document.querySelector("[data-news]");
    var text = banner ? banner.textContent.trim().replace(/\s+/g, " ") : "";
    if (region && said !== null && text !== said) region.textContent = text;
    said = text;
  }

  // The heartbeat's clock counts between two answers of the server: up while a cycle runs, down while it rests.
  setInterval(function () {
    document.querySelectorAll("[data-clock]").forEach(function (c) {
      var s = Math.max(0, +c.dataset.seconds + (c.dataset.clock === "resting" ? -1 : 1));
      c.dataset.seconds = s;
      c.textContent = Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0");
      var arc = c.parentNode.querySelector(".arc"), rest = arc ? +arc.dataset.rest : 0;
      if (rest > 0) arc.setAttribute("stroke-dasharray", 264 * Math.min(s / rest, 1) + " 264");
    });
    // The server tells something at least every 15 seconds: a page that hears nothing for longer shows what is old, and says so.
    var stale = document.querySelector("[data-stale]");
    if (stale && !document.hidden) stale.textContent = Date.now() - heard > 50000 ? stale.dataset.stale : "";
  }, 1000);

  // The ring turns on through an exchange: its animation is set to the page's own time.
  function turning() {
    document.querySelectorAll(".ring .turn").forEach(function (t) { t.getAnimations().forEach(function (a) { a.startTime = 0; }); });
  }

  function fresh() { showSwitch(); localTimes(); news(); turning(); }
  document.addEventListener("DOMContentLoaded", fresh);
  document.addEventListener("htmx:afterSwap", fresh);
  // A page that is being worked on is not exchanged under the hand: a press under way, an open question, a field with the focus.
  var touched = 0;
  ["pointerdown", "keydown"].forEach(function (name) {
    document.addEventListener(name, function () { touched = Date.now(); }, true);
  });
  document.addEventListener("htmx:beforeSwap", function (e) {
    var live = document.getElementById("live");
    if (!live || e.detail.target !== live) return;
    // A session that ended answers with another page: go there.
    if (e.detail.xhr.responseURL && new URL(e.detail.xhr.responseURL).pathname !== location.pathname) { location.reload(); return; }
    if (Date.now() - touched < 1500 || String(getSelection()) || live.querySelector("details[open]") || live.querySelector("main :is(input, select, textarea):focus")) e.detail.shouldSwap = false;
  });
  // The focus stays where it was, on the same control of the new page.
  var focused = null;
  document.addEventListener("htmx:beforeSwap", function () {
    var a = document.activeElement;
    focused = a && a.dataset ? a.dataset.testid || (a.getAttribute("href") && "a" + a.getAttribute("href")) : null;
  });
  document.addEventListener("htmx:afterSwap", function () {
    if (!focused) return;
    var again = focused[0] === "a" && focused[1] === "/" ? document.querySelector('#live a[href="' + CSS.escape(focused.slice(1)) + '"]') : document.querySelector('#live [data-testid="' + CSS.escape(focused) + '"]');
    if (again) again.focus({ preventScroll: true });
  });
})();
