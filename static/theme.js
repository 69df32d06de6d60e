// Runs before the first paint, so that a chosen theme does not flash the other one.
(function () {
  try {
    var chosen = localStorage.getItem("tandem-theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch (e) { /* without storage the system's setting holds */ }
})();
