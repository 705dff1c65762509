// Two rankings: what took shared licenses, and how the license of each holder is used.

import { get } from "./api.js";
import { h } from "./dom.js";
import { saver } from "./download.js";
import { clock, counted, hours, share, sixths } from "./format.js";

const MOST = 100;
const GROUPS = {
  cospace: { title: "Spaces", one: "Space", none: "not in a space" },
  owner: { title: "Owners", one: "Owner of the space", none: "owner not known" },
  call_type: { title: "Kinds", one: "Kind of meeting", none: "kind not told" },
  user: { title: "People", one: "Who was in", none: "not known" },
};
const KINDS = { coSpace: "in spaces", adHoc: "ad hoc", lyncConferencing: "Lync conferences", forwarding: "gateway calls" };
const NOTES = {
  user: "A person counts with what meetings took from when they first came: under join, what a PMP+ of theirs might save.",
};

/** Return a panel: a title, a button that saves, what is said of the list, and the list. */
function panel({ id, title, path, asked, name, more = [] }) {
  const said = h("p", { class: "said", role: "status" });
  const body = h("div", { class: "scroll" });
  const fail = (text) => {
    said.textContent = text;
    body.replaceChildren();
  };
  const save = saver(path, asked, name, { failed: fail });
  const element = h(
    "section",
    { class: "panel report", id, "aria-labelledby": `${id}-title` },
    h("header", {}, h("h2", { id: `${id}-title` }, title), ...more, save),
    said,
    body,
  );
  let turn = 0;
  const wait = () => {
    turn += 1;
    said.textContent = "One moment …";
    element.classList.add("waiting");
  };
  /** Ask, and show what came unless something else is asked for by then. */
  async function read(show) {
    wait();
    const own = turn;
    try {
      const answer = await get(path, { ...asked(), limit: MOST });
      if (own === turn) show(answer);
    } catch (problem) {
      if (own === turn) fail(problem.message);
    } finally {
      if (own === turn) element.classList.remove("waiting");
    }
  }
  return { element, said, body, wait, read };
}

/** The report on what took shared licenses. */
export function shared(asked, { look }) {
  let by = "cospace";
  const tabs = Object.entries(GROUPS).map(([key, { title }]) => {
    const radio = h("input", { type: "radio", name: "by", value: key, checked: key === by });
    radio.addEventListener("change", () => {
      by = key;
      read();
    });
    return h("label", { class: "tab" }, radio, h("span", {}, title));
  });
  const own = panel({
    id: "report-shared",
    title: "What took SMP+",
    path: "v1/reports/shared",
    asked: () => ({ ...asked(), by }),
    name: "shared licenses",
    more: [h("div", { class: "tabs", role: "radiogroup", "aria-label": "Ranked by" }, tabs)],
  });
  const read = () => own.read(({ items, next }) => {
    own.said.textContent = items.length ? [more(items, next), NOTES[by]].filter(Boolean).join(" ") : "No SMP+ was taken in that time.";
    const most = items[0]?.license_hours || 1;
    const head = [GROUPS[by].one, "SMP+ taken", "Time on SMP+", "Meetings", "Of the peak"];
    own.body.replaceChildren(...table(head, items.map((one) => [
      label(by, one, look),
      bar(one.license_hours / most, hours(one.license_hours)),
      hours(one.meeting_hours),
      String(one.meetings),
      one.sixths_at_peak ? `${sixths(one.sixths_at_peak)} (${share(one.share_of_peak)})` : "–",
    ])));
  });
  return { element: own.element, wait: own.wait, read };
}

/** The report on holders. */
export function holders(asked, { look }) {
  const own = panel({ id: "report-holders", title: "How each PMP+ is used", path: "v1/reports/holders", asked, name: "holders" });
  const read = () => own.read(({ items, next }) => {
    const never = items.filter((one) => one.holds_license && one.meetings === 0).length;
    own.said.textContent = items.length
      ? [more(items, next), never ? `${counted(never, "PMP+ was", "PMP+ were")} not used in that time.` : null].filter(Boolean).join(" ")
      : "Nobody holds PMP+, and nobody's was used in that time.";
    own.body.replaceChildren(...table(["Holder", "Meetings paid", "Time", "At once", "Last used"], items.map((one) => [
      [named(one.user, () => look(one.user)), one.holds_license ? null : h("span", { class: "more" }, "holds it no longer")],
      String(one.meetings),
      hours(one.meeting_hours),
      String(one.most_at_once),
      one.last_used_at ? clock(one.last_used_at) : h("span", { class: "badge none" }, one.never_used ? "never" : "not then"),
    ])));
  });
  return { element: own.element, wait: own.wait, read };
}

function more(items, next) {
  return next ? `The first ${items.length}; the CSV has all.` : null;
}

function label(by, one, look) {
  const text = by === "call_type" ? (KINDS[one.key] ?? one.key) : (one.name ?? one.key);
  if (one.key === null) return h("span", { class: "none" }, GROUPS[by].none);
  return by === "call_type" ? text : named(text, () => look(one.key));
}

/** Return a name that leads to its meetings. */
function named(text, onclick) {
  return h("button", { type: "button", class: "name", title: "Show its meetings", onclick }, text);
}

function bar(part, text) {
  return h("span", { class: "amount" }, h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: "fill", style: { width: `${part * 100}%` } })), text);
}

/** Return a table, or nothing where it has no rows. */
function table(head, rows) {
  if (!rows.length) return [];
  return [
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, place) => h("td", { "data-name": head[place] }, cell))))),
    ),
  ];
}
