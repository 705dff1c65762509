// The sign of a license: told by its text and its shape, not by its color alone.

import { h, s } from "./dom.js";
import { inWords, kind, weight } from "./format.js";

/** Return the sign of a license as the API shows it, or of none. */
export function badge(license) {
  const which = kind(license);
  return h("span", { class: `badge ${which}`, title: inWords(license) }, mark(which), label(license));
}

function label(license) {
  if (!license) return "none";
  const part = license.type === "SMP+" && license.weight && license.weight !== "1" ? `${weight(license.weight)} ` : "";
  return part + license.type;
}

/** Return the shape: three for the pool that all share, one for what a person holds. */
function mark(which) {
  const dots = { smp: [[3, 9], [9, 9], [6, 3]], pmp: [[6, 6]], none: [] }[which];
  const radius = which === "pmp" ? 4.5 : 2.4;
  return s("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, dots.map(([x, y]) => s("circle", { cx: x, cy: y, r: radius })));
}
