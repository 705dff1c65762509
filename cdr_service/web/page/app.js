// Puts the page together.

import { get, tokenFrom } from "./api.js";
import { chart } from "./chart.js";
import { detail } from "./detail.js";
import { $, h, say } from "./dom.js";
import { bridges, feed } from "./feed.js";
import { finder } from "./find.js";
import { gauges } from "./gauges.js";
import { meetings } from "./meetings.js";
import { peaks } from "./peak.js";
import { reports } from "./reports.js";
import { State } from "./state.js";
import { follow } from "./stream.js";
import { themes } from "./theme.js";
import { tokens } from "./token.js";
import { views as viewsOf } from "./views.js";

const EVENTS = "call.*,leg.*,license.*,records.missing,session.replaced,directory.changed";
const STATES = { live: "live", away: "no connection", connecting: "connecting", failing: "no answer" };
const AGES_MILLISECONDS = 5000;
const AGAIN_MILLISECONDS = 2000;

let state = null;
let stream = "connecting";
let trouble = null;
let ending = new AbortController();

tokenFrom(tokens($("token")));
themes($("theme"));
const deployment = () => state?.deployment;
const dialog = detail($("detail"), {
  deployment,
  policy: () => state?.usage?.policy,
  closed() {
    if (location.hash.startsWith("#meeting=")) history.replaceState(null, "", shown.address());
  },
});
const open = (id) => {
  history.replaceState(null, "", addressOf(id));
  dialog.show(id);
};
const openPeak = peaks($("peak"), { deployment, open });
const table = meetings(open);
const views = [gauges($("gauges")), chart($("chart"), openPeak), table.show, feed($("feed"), open), bridges($("bridges"))];
const find = finder($("find"), { deployment, found: table.find, open });
const reported = reports($("reports"), {
  deployment,
  openPeak,
  look: find,
});
$("find").addEventListener("input", () => shown.live()); // what is found is shown there
const shown = viewsOf((view) => view === "reports" && state && reported.read());

function show(now, failed = null) {
  if (now !== state) return;
  trouble = failed;
  status();
  if (!now.usage) return;
  say($("policy"), `by the policy ${now.usage.policy}`);
  views.forEach((view) => view(now));
}

function connection(name) {
  stream = name;
  status();
}

/** Say whether what is shown is what is: the stream must be there, and the service must answer. */
function status() {
  const name = stream === "live" && trouble ? "failing" : stream;
  $("status").dataset.state = name;
  $("status").title = trouble ?? "";
  say($("status"), STATES[name]);
}

/** Show one deployment from now on. */
function watch(deployment) {
  ending.abort();
  ending = new AbortController();
  state = new State(deployment, show, ending.signal);
  const own = state;
  const on = {
    event(event) {
      own.heard(event);
      dialog.heard(event);
    },
    fresh() {
      own.fresh();
      dialog.anew();
    },
    state: connection,
  };
  follow({ types: EVENTS, deployment }, on, ending.signal);
  own.keep();
  if (!$("reports").hidden) reported.read();
}

/** Return the address of a meeting; of several deployments each may have one of the same id. */
function addressOf(id) {
  const within = $("deployment").options.length > 1 ? `&deployment=${encodeURIComponent(deployment())}` : "";
  return `#meeting=${encodeURIComponent(id)}${within}`;
}

/** Ask which deployments there are, until somebody answers. */
async function deployments() {
  for (;;) {
    try {
      return (await get("v1/usage", { limit: 500 })).items.map((one) => one.deployment);
    } catch {
      connection("away");
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));
    }
  }
}

async function start() {
  const names = await deployments();
  const choice = $("deployment");
  choice.append(...names.map((name) => h("option", { value: name }, name)));
  choice.addEventListener("change", () => watch(choice.value));
  $("deployment-label").hidden = names.length < 2;
  const asked = new URLSearchParams(location.hash.slice(1));
  if (names.includes(asked.get("deployment"))) choice.value = asked.get("deployment");
  watch(choice.value);
  if (asked.get("meeting")) dialog.show(asked.get("meeting"));
}

setInterval(() => state?.usage && !document.hidden && show(state, trouble), AGES_MILLISECONDS);
document.addEventListener("visibilitychange", () => document.hidden || state?.fresh());
start();
