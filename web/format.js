// Figures as people read them.

import { text } from "./texts.js";

export function formatCount(number) {
  return Number.isFinite(number) ? Math.round(number).toLocaleString() : "0";
}

/** A loss with four significant digits. */
export function formatLoss(value) {
  if (!Number.isFinite(value)) return "\u2013";
  const size = Math.abs(value);
  const extreme = size !== 0 && (size < 1e-3 || size >= 1e5);
  return extreme ? value.toExponential(2) : String(+value.toPrecision(4));
}

/** Steps a second; slow ones as seconds a step. */
export function formatSpeed(perSecond) {
  if (!Number.isFinite(perSecond) || perSecond <= 0) return "\u2013";
  if (perSecond < 1) return text("secondsPerStep", { value: (1 / perSecond).toFixed(1) });
  return text("stepsPerSecond", { value: perSecond.toFixed(perSecond < 100 ? 1 : 0) });
}

export function formatSeconds(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "\u2013";
  const whole = Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (hours) return text("hoursMinutes", { hours, minutes });
  if (minutes) return text("minutesSeconds", { minutes, seconds: whole % 60 });
  return text("seconds", { seconds: whole });
}

export function formatMegabytes(bytes) {
  const megabytes = bytes / 2 ** 20;
  return megabytes.toFixed(megabytes < 10 ? 1 : 0);
}
