// The loss curve: raw faint, smoothed strong; a cursor by pointer or keyboard reads it.

import { html, setText, svg } from "./dom.js";
import { formatCount, formatLoss } from "./format.js";
import { text } from "./texts.js";

const MARGIN = { left: 46, right: 10, top: 8, bottom: 20 };
const GRID_LINES = 4;

/**
 * Share of the raw values that the axis leaves out at each end. They are noise many times as wide
 * as what the smoothed curve tells, and would press it flat.
 */
const OUTER_SHARE = 0.1;

/** [low, high] of the loss axis; the smoothed curve always lies inside. */
export function lossRange(points) {
  const raw = points.map((point) => point[1]).sort((a, b) => a - b);
  const smooth = points.map((point) => point[2]).filter(Number.isFinite);
  const skip = Math.floor(raw.length * OUTER_SHARE);
  let low = raw[skip];
  let high = raw[raw.length - 1 - skip];
  for (const value of smooth) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (high - low > 0) return [low, high];
  const half = Math.abs(low) * 0.05 || 0.5;
  return [low - half, high + half];
}

export class LossCurve {
  #points = [];
  #cursor = null;
  #scale = null;
  #empty;
  #keys;
  #plot;
  #grid = svg("g", { class: "zoodip-grid" });
  #labels = svg("g", { class: "zoodip-labels" });
  #raw = svg("path", { class: "zoodip-raw" });
  /** Cuts off what the axis leaves out. */
  #window = svg("svg", { class: "zoodip-window" }, this.#raw);
  #smooth = svg("path", { class: "zoodip-smooth" });
  #marker = svg("g", { class: "zoodip-marker" });
  /** Names the axis, and the step under the cursor. */
  #stepLabel = svg("text");
  #observer = new ResizeObserver(() => this.#draw());

  constructor() {
    this.#empty = html("span", { class: "zoodip-empty" }, text("noCurve"));
    this.#keys = ["raw", "smooth"].map((name) => html("span", { class: `zoodip-key-${name}` }));
    this.#plot = svg(
      "svg",
      { class: "zoodip-plot", "aria-hidden": "true" },
      this.#grid,
      this.#window,
      this.#smooth,
      this.#marker,
      this.#labels,
    );
    // A slider is what assistive technology can move along and read out step by step.
    this.element = html(
      "div",
      { class: "zoodip-curve", role: "slider", tabindex: "0", "aria-label": text("curveLabel") },
      this.#plot,
      this.#empty,
      html("div", { class: "zoodip-legend", "aria-hidden": "true" }, ...this.#keys),
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

  /** points: [[step, loss, smoothed or null], ...] with ascending steps. */
  setPoints(points) {
    const step = this.#cursor === null ? null : this.#points[this.#cursor]?.[0];
    this.#points = points;
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

  #measure() {
    const width = this.#plot.clientWidth;
    const height = this.#plot.clientHeight;
    const points = this.#points;
    if (width < 80 || height < 40 || !points.length) return null;
    const [low, high] = lossRange(points);
    const first = points[0][0];
    const last = points.at(-1)[0];
    const inner = {
      left: MARGIN.left,
      right: width - MARGIN.right,
      top: MARGIN.top,
      bottom: height - MARGIN.bottom,
    };
    const x = (step) =>
      inner.left + ((step - first) / (last - first || 1)) * (inner.right - inner.left);
    const y = (loss) =>
      inner.bottom - ((loss - low) / (high - low)) * (inner.bottom - inner.top);
    return { width, height, low, high, first, last, inner, x, y };
  }

  #draw() {
    // First, because a plot that is not shown has no size to measure.
    this.element.classList.toggle("zoodip-has-curve", this.#points.length > 0);
    this.#scale = this.#measure();
    const scale = this.#scale;
    if (scale) {
      this.#plot.setAttribute("viewBox", `0 0 ${scale.width} ${scale.height}`);
      this.#placeWindow();
      this.#raw.setAttribute("d", this.#path(1));
      this.#smooth.setAttribute("d", this.#path(2));
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

  /** Path of column `index` of the points; a missing value breaks the line. */
  #path(index) {
    const { x, y } = this.#scale;
    let pen = "M";
    let path = "";
    for (const point of this.#points) {
      if (!Number.isFinite(point[index])) {
        pen = "M";
        continue;
      }
      path += `${pen}${x(point[0]).toFixed(1)} ${y(point[index]).toFixed(1)}`;
      pen = "L";
    }
    // A lone point is a line of no length, which round caps make a dot.
    return path.includes("L") || !path ? path : `${path}h0.01`;
  }

  #drawAxes() {
    const { inner, low, high, first, last, height } = this.#scale;
    const lines = [];
    for (let line = 0; line <= GRID_LINES; line += 1) {
      const y = Math.round(inner.top + ((inner.bottom - inner.top) * line) / GRID_LINES) + 0.5;
      lines.push(svg("line", { x1: inner.left, x2: inner.right, y1: y, y2: y }));
    }
    this.#grid.replaceChildren(...lines);
    const label = (x, y, anchor, value) => svg("text", { x, y, "text-anchor": anchor }, value);
    const labels = [
      label(inner.left - 6, inner.top + 7, "end", formatLoss(+high.toPrecision(3))),
      label(inner.left - 6, inner.bottom + 1, "end", formatLoss(+low.toPrecision(3))),
      label(inner.left, height - 5, "start", formatCount(first)),
      label((inner.left + inner.right) / 2, height - 5, "middle", ""),
    ];
    if (last > first) labels.push(label(inner.right, height - 5, "end", formatCount(last)));
    this.#stepLabel = labels[3];
    this.#labels.replaceChildren(...labels);
  }

  #pointAt(event) {
    if (!this.#scale) return;
    // The node may be drawn scaled: client pixels are not the plot's own.
    const box = this.#plot.getBoundingClientRect();
    const { inner, first, last, width } = this.#scale;
    const x = ((event.clientX - box.left) / box.width) * width;
    const share = (x - inner.left) / (inner.right - inner.left);
    this.#setCursor(this.#nearest(first + Math.min(1, Math.max(0, share)) * (last - first)));
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
    element.setAttribute("aria-valuetext", shown ? describe(shown) : text("noCurve"));
    this.#label(point);
    this.#drawMarker(point);
  }

  /** The legend names the curves, and has their values at the cursor. */
  #label(point) {
    const [raw, smooth] = this.#keys;
    setText(raw, point ? text("lossAt", { loss: formatLoss(point[1]) }) : text("loss"));
    setText(smooth, point ? text("smoothedAt", { loss: formatLoss(point[2]) }) : text("smoothed"));
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

/** A point in words, for those who hear it. */
function describe([step, loss, smooth]) {
  const values = { step: formatCount(step), loss: formatLoss(loss), smooth: formatLoss(smooth) };
  return text(Number.isFinite(smooth) ? "pointSmoothed" : "point", values);
}
