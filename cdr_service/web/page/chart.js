// Licenses over the last hours, as steps, because use changes in steps: what we say, and over it what the Meeting Server
// itself says. The peak of the shared pool leads to the meetings that made it.

import { $, h, s, say } from "./dom.js";
import { clock, sixths } from "./format.js";

const MINUTE = 60000;
const LEAST = 15 * MINUTE;
const TICK_MINUTES = [5, 10, 15, 30, 60];
const GAP = 11 * MINUTE; // the Meeting Server tells every five; where it told nothing, no line is drawn

/** What is drawn: how to read ours and theirs, all in sixths so that both are drawn alike. */
const KINDS = [
  {
    which: "smp",
    title: "Shared, SMP+",
    nothing: "none was used",
    ours: (one) => one.shared_sixths_peak,
    theirs: (one) => one.shared_licenses * 6,
    limit: (usage) => usage?.shared.limit ?? null,
  },
  {
    which: "pmp",
    title: "Meetings on PMP+",
    nothing: "none was used",
    ours: (one) => one.personal_peak * 6,
    theirs: (one) => one.personal * 6,
    limit: () => null, // limits are of holders, and one may pay for several meetings
  },
];

/** Show the history in its panel, or hide the panel where the service keeps none. `openPeak` is given the peak's minute. */
export function chart(panel, openPeak) {
  const body = $("chart-body");
  let shown = "";
  return ({ history, usage }) => {
    panel.hidden = !history?.items.length;
    const now = JSON.stringify([history, usage?.shared.limit]);
    if (panel.hidden || now === shown) return;
    shown = now;
    $("chart-theirs").hidden = !history.theirs.length;
    const cut = told(history);
    const focused = body.contains(document.activeElement);
    body.replaceChildren(...KINDS.map((kind) => figure(kind, cut, kind.limit(usage), openPeak)));
    if (focused) body.querySelector("button")?.focus({ preventScroll: true });
  };
}

/** Return the history without the quiet time before its first use. */
function told({ since, until, items, theirs }) {
  const used = items.find((one) => one.shared_sixths_peak > 0 || one.personal_peak > 0);
  const begun = used ? Date.parse(used.start) - 2 * MINUTE : until - LEAST;
  const from = new Date(Math.max(since, Math.min(begun, until - LEAST)));
  return {
    since: from,
    until,
    items: items.filter((one) => Date.parse(one.start) > from - MINUTE),
    theirs: theirs.filter((one) => Date.parse(one.at) > from),
  };
}

function figure(kind, { since, until, items, theirs }, limit, openPeak) {
  const peak = items.reduce((most, one) => (kind.ours(one) > kind.ours(most) ? one : most));
  const most = kind.ours(peak);
  const theirMost = Math.max(0, ...theirs.map(kind.theirs));
  const near = limit !== null && limit * 6 <= Math.max(most, 6) * 3; // a limit far above would flatten all else
  const high = Math.ceil(Math.max(6, most, theirMost, near ? limit * 6 : 0) / 6) * 6 * 1.15;
  const x = (time) => ((time - since) / (until - since)) * 100;
  const y = (count) => 100 - (count / high) * 100;
  const line = steps(items, kind.ours, since, until, x, y);
  const said = most ? `at most ${sixths(most)} at ${minute(peak.start)}` : kind.nothing;
  return h(
    "figure",
    { class: `use ${kind.which}` },
    h("figcaption", {}, h("span", {}, kind.title), h("span", { class: "most" }, said)),
    h(
      "div",
      { class: "plot" },
      h(
        "div",
        { role: "img", "aria-label": `${kind.title} over the last hours, ${said}` },
        s(
          "svg",
          { viewBox: "0 0 100 100", preserveAspectRatio: "none" },
          s("path", { class: "area", d: `M0 100 ${line} V100 Z` }),
          near ? s("path", { class: "limit-line", d: `M0 ${y(limit * 6)}H100` }) : null,
          s("path", { class: "line", d: `M0 ${y(first(items, kind.ours, since))} ${line}` }),
          s("path", { class: "their-line", d: joined(theirs, kind.theirs, x, y) }),
          s("path", { class: "their-dots", d: dots(theirs, kind.theirs, x, y) }),
        ),
        near ? tag("limit-tag", 0, y(limit * 6), `limit ${limit}`) : null,
        ticks(since, until).map((time) => tag("tick", x(time), 100, minute(time))),
        tag("tick", 100, 100, "now"),
      ),
      most ? marked(kind, peak, most, x(Math.min(Date.parse(peak.start) + MINUTE / 2, until)), y(most), openPeak) : null,
    ),
  );
}

/** Return the mark of the peak; that of the shared pool can be opened. */
function marked(kind, peak, most, left, top, openPeak) {
  const text = sixths(most);
  if (kind.which !== "smp") return tag("peak-tag", left, top, text);
  const told = `At most ${text} at ${minute(peak.start)}: show the meetings that made it`;
  return h(
    "button",
    {
      type: "button",
      class: "peak-tag",
      title: told,
      "aria-label": told,
      style: { left: `${left}%`, top: `${top}%` },
      onclick: () => openPeak(new Date(peak.start), new Date(Date.parse(peak.start) + MINUTE)),
    },
    text,
  );
}

/** Return round times, not so many that they meet, nor one that meets "now". */
function ticks(since, until) {
  const step = TICK_MINUTES.find((minutes) => (until - since) / (minutes * MINUTE) <= 6) * MINUTE;
  const begin = Math.ceil(since / step) * step;
  const times = [];
  for (let time = begin; time < until - step / 2; time += step) times.push(new Date(time));
  return times;
}

function minute(time) {
  return clock(time).slice(-8, -3);
}

function first(items, count, since) {
  return Date.parse(items[0].start) - since < MINUTE ? count(items[0]) : 0;
}

/** Return the path of the steps. A minute that is not told is one without any use. */
function steps(items, count, since, until, x, y) {
  let path = "";
  let end = since.getTime();
  for (const one of items) {
    const start = Math.max(Date.parse(one.start), since.getTime());
    if (start > end) path += `H${x(end)} V${y(0)} H${x(start)} `;
    path += `H${x(start)} V${y(count(one))} `;
    end = Math.min(start + MINUTE, until.getTime());
  }
  return `${path}H${x(end)}${end < until - MINUTE ? `V${y(0)}H100` : "H100"}`;
}

function joined(theirs, count, x, y) {
  let before = -Infinity;
  return theirs
    .map((one) => {
      const at = Date.parse(one.at);
      const way = at - before > GAP ? "M" : "L";
      before = at;
      return `${way}${x(at)} ${y(count(one))}`;
    })
    .join("");
}

function dots(theirs, count, x, y) {
  return theirs.map((one) => `M${x(Date.parse(one.at))} ${y(count(one))}h0`).join("");
}

function tag(which, left, top, text) {
  return h("span", { class: which, style: { left: `${left}%`, top: `${top}%` } }, text);
}
