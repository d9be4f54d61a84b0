"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const slider = document.getElementById("snapshot");
  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

  const nearest = (points, step, of = (point) => point[0]) =>
    points.reduce((best, point, index) =>
      Math.abs(of(point) - step) < Math.abs(of(points[best]) - step) ? index : best, 0);

  /* One cursor in all charts: where the pointer is, or the snapshot that is shown. */
  const pointAt = (step, pinned) => {
    const x = data.left + (step / data.last) * (data.right - data.left);
    charts.forEach((chart, index) => {
      const cursor = chart.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.removeAttribute("hidden");
      cursor.classList.toggle("pinned", pinned);
      const shown = data.charts[index].filter((series) => series.points.length);
      const values = shown.map(({ name, points }) =>
        `${shown.length > 1 ? `${name} ` : ""}${number(points[nearest(points, step)][1])}`);
      chart.querySelector(".readout").textContent = `${Math.round(step).toLocaleString("en")}: ${values.join(" · ")}`;
    });
  };

  const stepUnder = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * data.width;
    const share = (x - data.left) / (data.right - data.left);
    return Math.min(1, Math.max(0, share)) * data.last;
  };

  const pinSnapshot = () => {
    if (slider) pointAt(data.snapshots[Number(slider.value)].step, true);
  };

  for (const chart of charts) {
    const svg = chart.querySelector("svg");
    svg.addEventListener("pointermove", (event) => pointAt(stepUnder(event), false));
    svg.addEventListener("pointerleave", pinSnapshot);
    svg.addEventListener("click", (event) => {
      if (slider) show(nearest(data.snapshots, stepUnder(event), (snapshot) => snapshot.step));
    });
  }
  if (!slider) return;

  const picture = document.getElementById("grid");
  const told = document.getElementById("shown");
  const play = document.getElementById("play");
  let timer = null;

  const show = (index) => {
    const last = data.snapshots.length - 1;
    const chosen = Math.min(last, Math.max(0, index));
    const { step, src } = data.snapshots[chosen];
    slider.value = chosen;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    picture.src = src;
    picture.alt = `The same 64 latents at step ${step}`;
    told.textContent = step.toLocaleString("en");
    pinSnapshot();
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.setAttribute("aria-pressed", "false");
  };

  play.addEventListener("click", () => {
    if (timer) return stop();
    play.setAttribute("aria-pressed", "true");
    if (Number(slider.value) === data.snapshots.length - 1) show(0);
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) === data.snapshots.length - 1) stop();
    }, 200);
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  document.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const busy = event.ctrlKey || event.metaKey || event.altKey || event.target === slider;
    if (!by || busy) return;
    stop();
    show(Number(slider.value) + by);
    event.preventDefault();
  });
  show(data.snapshots.length - 1);
})();
