// What switched lately, newest first.

import { badge } from "./badge.js";
import { $, h, keyed, say } from "./dom.js";
import { ago, clock, counted, reason } from "./format.js";

const PUSHES_MILLISECONDS = 300000;

/** Show switches in the list; a click opens the meeting. What is new is said to those who do not see it. */
export function feed(list, open) {
  let newest = null;
  const empty = h("li", { class: "empty" }, "Nothing has switched yet.");
  return ({ switches }) => {
    if (switches.length) empty.remove();
    keyed(list, switches, keyOf, (one) => entry(one, open), fill);
    if (!switches.length) list.replaceChildren(empty);
    say($("feed-count"), switches.length ? `the last ${switches.length}` : "");
    const [first] = switches;
    if (first && newest && keyOf(first) !== newest) {
      say($("said"), `${first.name ?? "A meeting"} went from ${first.from.type} to ${first.to.type}.`);
    }
    newest = first ? keyOf(first) : "none";
  };
}

function keyOf(one) {
  return [one.meeting, one.at, one.from.type, one.to.type, one.leg].join("|");
}

function entry(one, open) {
  return h(
    "li",
    { class: one.late ? "late" : null },
    h(
      "button",
      { type: "button", onclick: () => open(one.meeting) },
      h("span", { class: "when" }, h("time", { datetime: one.at, title: clock(one.at) })),
      h("span", { class: "what" }, badge(one.from), h("span", { class: "arrow" }, "→"), badge(one.to)),
      h("span", { class: "name" }, one.name ?? "(no name)"),
      h("span", { class: "why" }, `${one.late ? "learned late: " : ""}${reason(one.reason)}`),
    ),
  );
}

function fill(element, one) {
  say(element.querySelector("time"), ago(one.at));
}

/** Return what a list of Call Bridges shows: what came last from each, what is missing. */
export function bridges(list) {
  return (state) => {
    const empty = state.bridges.length === 0;
    if (empty) list.replaceChildren(h("li", { class: "empty" }, "No Call Bridge has pushed anything yet."));
    else keyed(list, state.bridges, (one) => one.call_bridge ?? one.node ?? "", () => bridge(), fillBridge);
    const ill = state.bridges.filter(isIll).length;
    say($("bridges-count"), empty ? "" : ill ? `${counted(ill, "needs", "need")} a look` : "all well");
  };
}

function bridge() {
  return h(
    "li",
    {},
    h("span", { class: "name" }),
    h("span", { class: "last" }),
    h("span", { class: "counts" }),
    h("span", { class: "warning" }),
  );
}

function isIll(one) {
  return one.missing > 0 || troubles(one).length > 0;
}

/** Return what is wrong with a Call Bridge, a sentence each. One that pushes has a receiver that leads here, however. */
function troubles(one) {
  const pushes = Date.now() - Date.parse(one.last_received_at) < PUSHES_MILLISECONDS;
  return [
    one.warning,
    one.receiver === "missing" && !pushes ? "It has no CDR receiver of ours, so it pushes nothing to us." : null,
    one.receiver === "wrong_token" && !pushes ? "Its CDR receiver of ours has another token than we take." : null,
    one.alarms.length ? `It raises ${counted(one.alarms.length, "alarm")}: ${one.alarms.join(", ")}.` : null,
    one.problem,
  ].filter(Boolean);
}

function fillBridge(element, one) {
  const [name, last, counts, warning] = element.children;
  say(name, one.call_bridge ?? (one.warning && one.node) ?? "without a name");
  say(last, one.last_received_at ? `last record ${ago(one.last_received_at)}${ago(one.last_received_at) === "now" ? "" : " ago"}` : "no record");
  last.title = clock(one.last_record_at);
  const missing = one.missing ? `${one.missing} missing` : "none missing";
  const twice = one.duplicates ? counted(one.duplicates, "duplicate") : "no duplicates";
  say(counts, [counted(one.records, "record"), missing, twice].join(" · "));
  say(warning, troubles(one).join(" "));
  element.dataset.state = isIll(one) ? "ill" : "well";
  counts.classList.toggle("missing", one.missing > 0);
}
