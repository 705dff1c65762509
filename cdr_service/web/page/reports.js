// The reports: what took SMP+, how each PMP+ is used, and what would have been with other holders. They are asked for when
// they are looked at, one after the other, since each goes through all meetings of its span.

import { h } from "./dom.js";
import { holders, shared } from "./rankings.js";
import { whatIf } from "./whatif.js";

const DAY = 24 * 3600000;
const SPANS = [
  { days: 1, title: "last 24 hours" },
  { days: 7, title: "last 7 days" },
  { days: 30, title: "last 30 days" },
  { days: null, title: "all that is kept" },
];
const USUAL = 1;

/** Fill the view of reports. Return what is told when it is shown, and when another deployment is. */
export function reports(element, { deployment, openPeak, look }) {
  const choice = h("select", { id: "span" }, SPANS.map((span, place) => h("option", { value: place, selected: place === USUAL }, span.title)));
  const peak = h("button", { type: "button", class: "quiet", onclick: () => openPeak(since(), null) }, "The peak and who made it");
  const asked = () => ({ deployment: deployment(), since: since()?.toISOString() });
  const panels = [shared(asked, { look }), whatIf(asked), holders(asked, { look })];
  let turn = 0;

  function since() {
    const { days } = SPANS[choice.value];
    return days === null ? null : new Date(Math.floor(Date.now() / 60000) * 60000 - days * DAY);
  }

  async function read() {
    const own = ++turn;
    for (const panel of panels) panel.wait();
    for (const panel of panels) {
      if (own !== turn) return;
      await panel.read();
    }
  }

  choice.addEventListener("change", read);
  element.append(
    h("header", { class: "reports-head" }, h("h2", {}, "Reports on licenses"), h("label", {}, "of the ", choice), peak),
    ...panels.map((panel) => panel.element),
  );
  return { read };
}
