// The table of live meetings: sorted, filtered as one types, and brought up to date in place.

import { badge } from "./badge.js";
import { $, h, keyed, say } from "./dom.js";
import { ago, clock, counted, reason } from "./format.js";

const LICENSES = ["SMP+", "PMP+"];
const COLUMNS = [
  { key: "name", title: "Meeting", value: (one) => (one.name ?? "").toLowerCase() },
  { key: "participants", title: "People", value: (one) => one.participants, down: true },
  { key: "license", title: "License", value: (one) => (LICENSES.indexOf(one.license?.type) + 3) % 3 },
  { key: "holder", title: "Paid by", value: (one) => one.license?.holder ?? "" },
  { key: "since", title: "Since", value: (one) => one.license?.since ?? one.started_at ?? "", down: true },
  { key: "why", title: "Why", value: (one) => reason(one.license?.reason) },
];

/** Show meetings in the panel; `open` is called with the id of the one that is chosen. */
export function meetings(open) {
  const sort = { key: "license", down: false };
  const body = h("tbody", { onkeydown: walk });
  const head = h("tr", {}, COLUMNS.map((column) => header(column, sort, () => show())));
  const empty = h("p", { class: "empty", hidden: true });
  $("meetings-body").append(h("table", {}, h("thead", {}, head), body), empty);
  let state = null;
  let find = { text: "", ids: new Set() };

  function show() {
    if (!state) return;
    const every = [...state.meetings.values()];
    const chosen = every.filter((one) => !find.text || find.ids.has(one.id) || matches(one, find.text));
    chosen.sort(order(sort));
    keyed(body, chosen, (one) => one.id, () => row(open), fill);
    for (const [place, cell] of [...head.children].entries()) {
      const own = COLUMNS[place].key === sort.key;
      cell.setAttribute("aria-sort", own ? (sort.down ? "descending" : "ascending") : "none");
    }
    empty.hidden = chosen.length > 0;
    say(empty, every.length ? "No live meeting is found so." : "No meeting is live. The next one appears by itself.");
    const count = counted(every.length, "meeting");
    say($("meetings-count"), `${find.text ? `${chosen.length} of ` : ""}${count}${state.more ? ", and more" : ""}`);
  }

  return {
    show(now) {
      state = now;
      show();
    },
    find(now) {
      find = now;
      show();
    },
  };
}

function matches(one, text) {
  const texts = [one.name, one.license?.holder, one.license?.type, one.owner, one.license?.reason];
  return texts.some((each) => each?.toLowerCase().includes(text));
}

function order(sort) {
  const { value } = COLUMNS.find((column) => column.key === sort.key);
  const since = (one) => one.license?.since ?? one.started_at ?? "";
  return (one, other) => {
    const way = compared(value(one), value(other));
    return (sort.down ? -way : way) || compared(since(other), since(one)) || compared(one.id, other.id);
  };
}

function compared(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

function header(column, sort, show) {
  const choose = () => {
    sort.down = sort.key === column.key ? !sort.down : Boolean(column.down);
    sort.key = column.key;
    show();
  };
  return h("th", { scope: "col", class: column.key }, h("button", { type: "button", onclick: choose }, column.title));
}

function row(open) {
  const name = h("button", { type: "button", class: "name" });
  const element = h(
    "tr",
    { onclick: () => open(element.key) },
    h("td", { class: "name" }, name, h("span", { class: "marks" })),
    ...COLUMNS.slice(1).map((column) => h("td", { class: column.key })),
  );
  return element;
}

function fill(element, one) {
  const [name, people, license, holder, since, why] = element.children;
  const time = one.license?.since ?? one.started_at;
  say(since, ago(time));
  if (element.shown === one) return;
  element.shown = one;
  say(name.firstChild, one.name ?? "(no name)");
  say(name.lastChild, marks(one));
  say(people, String(one.participants));
  const sign = JSON.stringify([one.license?.type, one.license?.holder, one.license?.weight]);
  if (element.dataset.license !== sign) {
    if (element.dataset.license) flash(element);
    element.dataset.license = sign;
    element.dataset.type = one.license?.type ?? "none";
    license.replaceChildren(badge(one.license));
    say(holder, one.license?.holder ?? (one.license ? "the shared pool" : ""));
    holder.classList.toggle("pool", !one.license?.holder);
  }
  since.title = clock(time);
  say(why, reason(one.license?.reason) || "nobody is in");
}

function marks(one) {
  return [
    one.calls.length > 1 ? `on ${one.calls.length} Call Bridges` : "",
    one.recording ? "recorded" : "",
    one.streaming ? "streamed" : "",
    one.complete ? "" : "records are missing",
  ].filter(Boolean).join(" · ");
}

function flash(element) {
  element.classList.remove("changed");
  requestAnimationFrame(() => element.classList.add("changed"));
}

/** Let the arrow keys go from row to row. */
function walk(event) {
  const way = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = way && event.target.closest("tr")?.[way];
  if (!next) return;
  next.querySelector("button").focus();
  event.preventDefault();
}
