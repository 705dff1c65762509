// Shared licenses over the last hours, as steps, because use changes in steps, with its peak marked.

import { $, h, s, say } from "./dom.js";
import { clock, sixths } from "./format.js";

const MINUTE = 60000;
const LEAST = 15 * MINUTE;
const TICK_MINUTES = [5, 10, 15, 30, 60];

/** Show the history in its panel, or hide the panel where the service keeps none. */
export function chart(panel) {
  const body = $("chart-body");
  let shown = "";
  return ({ history, usage }) => {
    panel.hidden = !history?.items.length;
    const now = JSON.stringify([history, usage?.shared.limit]);
    if (panel.hidden || now === shown) return;
    shown = now;
    const limit = usage?.shared.limit ?? null;
    const peak = history.items.reduce((most, one) => (one.shared_sixths_peak > most.shared_sixths_peak ? one : most));
    say($("chart-peak"), `at most ${sixths(peak.shared_sixths_peak)} at ${minute(peak.start)}`);
    body.replaceChildren(drawn(told(history), limit, peak));
  };
}

/** Return the history without the quiet time before its first use. */
function told({ since, until, items }) {
  const used = items.find((one) => one.shared_sixths_peak > 0);
  const begun = used ? Date.parse(used.start) - 2 * MINUTE : until - LEAST;
  const from = new Date(Math.max(since, Math.min(begun, until - LEAST)));
  return { since: from, until, items: items.filter((one) => Date.parse(one.start) > from - MINUTE) };
}

function drawn({ since, until, items }, limit, peak) {
  const most = peak.shared_sixths_peak;
  const near = limit !== null && limit * 6 <= Math.max(most, 6) * 3; // a limit far above would flatten all else
  const high = Math.ceil(Math.max(6, most, near ? limit * 6 : 0) / 6) * 6 * 1.15;
  const x = (time) => ((time - since) / (until - since)) * 100;
  const y = (count) => 100 - (count / high) * 100;
  const line = steps(items, since, until, x, y);
  return h(
    "div",
    { class: "plot", role: "img", "aria-label": `Shared licenses in use, at most ${sixths(most)} at ${minute(peak.start)}` },
    s(
      "svg",
      { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("path", { class: "area", d: `M0 100 ${line} V100 Z` }),
      near ? s("path", { class: "limit-line", d: `M0 ${y(limit * 6)}H100` }) : null,
      s("path", { class: "line", d: `M0 ${y(first(items, since))} ${line}` }),
    ),
    near ? tag("limit-tag", 0, y(limit * 6), `limit ${limit}`) : null,
    most ? tag("peak-tag", x(Math.min(Date.parse(peak.start) + MINUTE / 2, until)), y(most), sixths(most)) : null,
    ticks(since, until).map((time) => tag("tick", x(time), 100, minute(time))),
    tag("tick", 100, 100, "now"),
  );
}

/** Return round times, not so many that they meet, nor one that meets "now". */
function ticks(since, until) {
  const step = TICK_MINUTES.find((minutes) => (until - since) / (minutes * MINUTE) <= 6) * MINUTE;
  const first = Math.ceil(since / step) * step;
  const times = [];
  for (let time = first; time < until - step / 2; time += step) times.push(new Date(time));
  return times;
}

function minute(time) {
  return clock(time).slice(-8, -3);
}

function first(items, since) {
  return Date.parse(items[0].start) - since < MINUTE ? items[0].shared_sixths_peak : 0;
}

/** Return the path of the steps. A minute that is not told is one without any use. */
function steps(items, since, until, x, y) {
  let path = "";
  let end = since.getTime();
  for (const one of items) {
    const start = Math.max(Date.parse(one.start), since.getTime());
    if (start > end) path += `H${x(end)} V${y(0)} H${x(start)} `;
    path += `H${x(start)} V${y(one.shared_sixths_peak)} `;
    end = Math.min(start + MINUTE, until.getTime());
  }
  return `${path}H${x(end)}${end < until - MINUTE ? `V${y(0)}H100` : "H100"}`;
}

function tag(which, left, top, text) {
  return h("span", { class: which, style: { left: `${left}%`, top: `${top}%` } }, text);
}
