// The loss curve: the loss of the fixed samples as dots, smoothed steps as a line, single steps
// faint behind them; a cursor by pointer or keyboard reads it.

import { describeAxes, lossRange, PlotScale } from "./curve_scale.js";
import { html, setText, svg } from "./dom.js";
import { formatCount, formatLoss } from "./format.js";
import { text } from "./texts.js";

const KEYS = ["fixed", "smooth", "raw"];
const DOT_RADIUS = 3;

export class LossCurve {
  #points = [];
  #validations = [];
  #cursor = null;
  #scale = null;
  #empty;
  #keys;
  #plot;
  #grid = svg("g", { class: "zoodip-grid" });
  #labels = svg("g", { class: "zoodip-labels" });
  #raw = svg("path", { class: "zoodip-raw" });
  #smooth = svg("path", { class: "zoodip-smooth" });
  /** Cuts off what the axis leaves out. */
  #window = svg("svg", { class: "zoodip-window" }, this.#raw, this.#smooth);
  #fixed = svg("path", { class: "zoodip-fixed" });
  #dots = svg("g", { class: "zoodip-dots" });
  #marker = svg("g", { class: "zoodip-marker" });
  /** Names the axis, and the step under the cursor. */
  #stepLabel = svg("text");
  #observer = new ResizeObserver(() => this.#draw());

  constructor() {
    this.#empty = html("span", { class: "zoodip-empty" }, text("noCurve"));
    const key = (name) => html("span", { class: `zoodip-key-${name}` });
    this.#keys = Object.fromEntries(KEYS.map((name) => [name, key(name)]));
    const parts = [this.#grid, this.#window, this.#fixed, this.#dots, this.#marker, this.#labels];
    this.#plot = svg("svg", { class: "zoodip-plot", "aria-hidden": "true" }, ...parts);
    const legend = { class: "zoodip-legend", "aria-hidden": "true" };
    // A slider is what assistive technology can move along and read out step by step.
    this.element = html(
      "div",
      { class: "zoodip-curve", role: "slider", tabindex: "0", "aria-label": text("curveLabel") },
      this.#plot,
      this.#empty,
      html("div", legend, ...Object.values(this.#keys)),
    );
    this.element.addEventListener("pointermove", (event) => this.#pointAt(event));
    this.element.addEventListener("pointerleave", () => this.#setCursor(null));
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("blur", () => this.#setCursor(null));
    this.#updateCursor();
  }

  attach() {
    this.#observer.observe(this.element);
  }

  detach() {
    this.#observer.disconnect();
  }

  /**
   * points: [[step, loss, smoothed or null], ...], validations: [[step, loss], ...], both with
   * ascending steps.
   */
  setPoints(points, validations = []) {
    const step = this.#cursor === null ? null : this.#points[this.#cursor]?.[0];
    this.#points = points;
    this.#validations = validations;
    // The cursor stays on its step while points come in and are thinned.
    this.#cursor = step === null || !points.length ? null : this.#nearest(step);
    this.#draw();
  }

  #nearest(step) {
    let low = 0;
    let high = this.#points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#points[middle][0] < step) low = middle + 1;
      else high = middle;
    }
    const before = this.#points[low - 1];
    return before && step - before[0] < this.#points[low][0] - step ? low - 1 : low;
  }

  /** The loss of the fixed samples that was the last known at `step`. */
  #fixedAt(step) {
    return this.#validations.findLast((one) => one[0] <= step)?.[1] ?? NaN;
  }

  #measure() {
    const { clientWidth: width, clientHeight: height } = this.#plot;
    const all = [...this.#validations, ...this.#points];
    if (width < 80 || height < 40 || !all.length) return null;
    const steps = all.map((point) => point[0]);
    // Not by spreading: a curve has more points than a call takes arguments in some browsers.
    const first = steps.reduce((a, b) => Math.min(a, b));
    const last = steps.reduce((a, b) => Math.max(a, b));
    return new PlotScale(width, height, [first, last], lossRange(this.#points, this.#validations));
  }

  #draw() {
    // First, because a plot that is not shown has no size to measure.
    const shown = this.#points.length + this.#validations.length > 0;
    this.element.classList.toggle("zoodip-has-curve", shown);
    this.element.classList.toggle("zoodip-has-dots", this.#validations.length > 0);
    this.#scale = this.#measure();
    const scale = this.#scale;
    if (scale) {
      this.#plot.setAttribute("viewBox", `0 0 ${scale.width} ${scale.height}`);
      this.#placeWindow();
      this.#raw.setAttribute("d", scale.path(this.#points, 1));
      this.#smooth.setAttribute("d", scale.path(this.#points, 2));
      this.#fixed.setAttribute("d", scale.path(this.#validations, 1));
      this.#drawDots();
      this.#drawAxes();
    }
    this.#updateCursor();
  }

  #placeWindow() {
    const { left, right, top, bottom } = this.#scale.inner;
    const box = { x: left, y: top, width: right - left, height: bottom - top };
    for (const [name, value] of Object.entries(box)) this.#window.setAttribute(name, value);
    this.#window.setAttribute("viewBox", `${left} ${top} ${box.width} ${box.height}`);
  }

  #drawDots() {
    const { x, y } = this.#scale;
    const dots = this.#validations.map(([step, loss]) =>
      svg("circle", { cx: x(step).toFixed(1), cy: y(loss).toFixed(1), r: DOT_RADIUS }),
    );
    this.#dots.replaceChildren(...dots);
  }

  #drawAxes() {
    const { lines, labels } = describeAxes(this.#scale);
    this.#grid.replaceChildren(...lines.map((line) => svg("line", line)));
    const made = labels.map(({ value, ...at }) => svg("text", at, value));
    this.#stepLabel = made[3];
    this.#labels.replaceChildren(...made);
  }

  #pointAt(event) {
    if (!this.#scale || !this.#points.length) return;
    // The node may be drawn scaled: client pixels are not the plot's own.
    const box = this.#plot.getBoundingClientRect();
    const { width } = this.#scale;
    const x = ((event.clientX - box.left) / box.width) * width;
    this.#setCursor(this.#nearest(this.#scale.stepAt(x)));
  }

  #onKey(event) {
    const count = this.#points.length;
    if (!count || event.ctrlKey || event.altKey || event.metaKey) return;
    const at = this.#cursor ?? count - 1;
    const page = Math.max(1, Math.round(count / 10));
    const moves = {
      ArrowLeft: at - 1,
      ArrowDown: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at + 1,
      PageDown: at - page,
      PageUp: at + page,
      Home: 0,
      End: count - 1,
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#setCursor(Math.min(count - 1, Math.max(0, moves[event.key])));
  }

  #setCursor(index) {
    if (index === this.#cursor) return;
    this.#cursor = index;
    this.#updateCursor();
  }

  #updateCursor() {
    const point = this.#cursor === null ? null : this.#points[this.#cursor];
    const shown = point ?? this.#points.at(-1);
    const element = this.element;
    element.setAttribute("aria-valuemin", this.#points[0]?.[0] ?? 0);
    element.setAttribute("aria-valuemax", this.#points.at(-1)?.[0] ?? 0);
    element.setAttribute("aria-valuenow", shown?.[0] ?? 0);
    element.setAttribute("aria-valuetext", shown ? this.#describe(shown) : text("noCurve"));
    this.#label(point);
    this.#drawMarker(point);
  }

  /** A point in words, for those who hear it. */
  #describe([step, loss, smooth]) {
    const fixed = this.#fixedAt(step);
    const shown = { loss, smooth, fixed };
    const values = { step: formatCount(step) };
    for (const [name, value] of Object.entries(shown)) values[name] = formatLoss(value);
    const words = text(Number.isFinite(smooth) ? "pointSmoothed" : "point", values);
    return Number.isFinite(fixed) ? words + text("pointFixed", values) : words;
  }

  /** The legend names the curves, and has their values at the cursor. */
  #label(point) {
    const { fixed, smooth, raw } = this.#keys;
    const at = (value) => ({ loss: formatLoss(value) });
    const last = point ? this.#fixedAt(point[0]) : NaN;
    setText(fixed, point ? text("fixedAt", at(last)) : text("fixed"));
    setText(smooth, point ? text("smoothedAt", at(point[2])) : text("smoothed"));
    setText(raw, point ? text("lossAt", at(point[1])) : text("loss"));
    const step = point ? text("stepAt", { step: formatCount(point[0]) }) : text("stepAxis");
    setText(this.#stepLabel, step);
  }

  #drawMarker(point) {
    if (!point || !this.#scale) {
      this.#marker.replaceChildren();
      return;
    }
    const { x, y, inner } = this.#scale;
    const at = x(point[0]);
    const value = Number.isFinite(point[2]) ? point[2] : point[1];
    this.#marker.replaceChildren(
      svg("line", { x1: at, x2: at, y1: inner.top, y2: inner.bottom }),
      svg("circle", { cx: at, cy: Math.min(inner.bottom, Math.max(inner.top, y(value))), r: 3.5 }),
    );
  }
}
