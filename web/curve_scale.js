// Where the loss curve puts its steps and losses.

import { formatCount, formatLoss } from "./format.js";

const MARGIN = { left: 46, right: 10, top: 8, bottom: 20 };
const GRID_LINES = 4;

/**
 * Share of the raw values that the axis leaves out at each end. They are noise many times as wide
 * as what the smoothed curve tells, and would press it flat.
 */
const OUTER_SHARE = 0.1;
/** Free share of the axis beyond the dots, so that none lies on its edge. */
const PADDING = 0.08;
/** The least that the axis spans, as a share of the losses: less would show rounding as change. */
const LEAST_SPAN = 0.05;

/**
 * [low, high] of the loss axis: the dots decide it, where there are some. Single steps, smoothed
 * or not, swing far wider, and would press them flat.
 */
export function lossRange(points, validations = []) {
  if (validations.length) return dotRange(validations.map((one) => one[1]));
  const raw = points.map((point) => point[1]).sort((a, b) => a - b);
  const skip = Math.floor(raw.length * OUTER_SHARE);
  const inner = raw.slice(skip, raw.length - skip);
  const smooth = points.map((point) => point[2]).filter(Number.isFinite);
  const [low, high] = ends([...inner, ...smooth]);
  if (high - low > 0) return [low, high];
  const half = Math.abs(low) * 0.05 || 0.5;
  return [low - half, high + half];
}

function dotRange(losses) {
  const [low, high] = ends(losses);
  const least = Math.abs(low + high) * 0.5 * LEAST_SPAN || 1;
  const free = Math.max((high - low) * PADDING, (least - (high - low)) / 2);
  return [low - free, high + free];
}

function ends(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  return [low, values.reduce((a, b) => Math.max(a, b), -Infinity)];
}

/** Steps and losses -> places in a plot of `width` by `height` pixels. */
export class PlotScale {
  constructor(width, height, [first, last], [low, high]) {
    Object.assign(this, { width, height, first, last, low, high });
    this.inner = {
      left: MARGIN.left,
      right: width - MARGIN.right,
      top: MARGIN.top,
      bottom: height - MARGIN.bottom,
    };
    const { left, right, top, bottom } = this.inner;
    this.x = (step) => left + ((step - first) / (last - first || 1)) * (right - left);
    this.y = (loss) => bottom - ((loss - low) / (high - low)) * (bottom - top);
  }

  stepAt(x) {
    const { left, right } = this.inner;
    const share = Math.min(1, Math.max(0, (x - left) / (right - left)));
    return this.first + share * (this.last - this.first);
  }

  /** Path of column `index` of the points; a missing value breaks the line. */
  path(points, index) {
    let pen = "M";
    let path = "";
    for (const point of points) {
      if (!Number.isFinite(point[index])) {
        pen = "M";
        continue;
      }
      path += `${pen}${this.x(point[0]).toFixed(1)} ${this.y(point[index]).toFixed(1)}`;
      pen = "L";
    }
    // A lone point is a line of no length, which round caps make a dot.
    return path.includes("L") || !path ? path : `${path}h0.01`;
  }
}

/** Attributes of the grid's lines and of the labels; the fourth label names the axis. */
export function describeAxes({ inner, low, high, first, last, height }) {
  const lines = Array.from({ length: GRID_LINES + 1 }, (_, line) => {
    const y = Math.round(inner.top + ((inner.bottom - inner.top) * line) / GRID_LINES) + 0.5;
    return { x1: inner.left, x2: inner.right, y1: y, y2: y };
  });
  const label = (x, y, anchor, value) => ({ x, y, "text-anchor": anchor, value });
  const labels = [
    label(inner.left - 6, inner.top + 7, "end", formatLoss(+high.toPrecision(3))),
    label(inner.left - 6, inner.bottom + 1, "end", formatLoss(+low.toPrecision(3))),
    label(inner.left, height - 5, "start", formatCount(first)),
    label((inner.left + inner.right) / 2, height - 5, "middle", ""),
  ];
  if (last > first) labels.push(label(inner.right, height - 5, "end", formatCount(last)));
  return { lines, labels };
}
