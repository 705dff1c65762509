// Which view is shown: the live one, or the reports. The address tells, so it can be sent to somebody else.

import { $ } from "./dom.js";

const REPORTS = "#reports";

/** Show the view that the address names, now and whenever it changes. `shown` hears which. */
export function views(shown) {
  const show = () => {
    const reports = location.hash === REPORTS;
    $("live").hidden = reports;
    $("reports").hidden = !reports;
    $("skip").href = reports ? REPORTS : "#meetings";
    for (const link of document.querySelectorAll("nav.views a")) {
      if ((link.hash === REPORTS) === reports) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (reports) scrollTo(0, 0);
    shown(reports ? "reports" : "live");
  };
  addEventListener("hashchange", show);
  show();
  return {
    /** Return the address of what is shown, without a meeting. */
    address: () => ($("reports").hidden ? location.pathname : REPORTS),
    live() {
      if ($("live").hidden) location.hash = "#live";
    },
  };
}
