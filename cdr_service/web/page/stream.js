// The event stream, read by fetch rather than EventSource, which could send no token. It goes on after every break from
// the last id, so that nothing is lost or told twice.

import { open } from "./api.js";

const AGAIN_MILLISECONDS = 2000;
const SILENT_MILLISECONDS = 40000; // the service says something every 15 seconds

/**
 * Follow the stream until the signal ends it. `on.event` hears each event, `on.state` of "live" and "away", and
 * `on.fresh` when the state must be read anew: at the start, and where the service says that continuity was lost.
 */
export async function follow(filters, on, signal) {
  let last = null;
  while (!signal.aborted) {
    try {
      const more = last === null ? {} : { "Last-Event-ID": last };
      const patience = new AbortController();
      const response = await open("v1/events", filters, { more, signal: AbortSignal.any([signal, patience.signal]) });
      on.state("live");
      if (last === null) on.fresh();
      for await (const frame of frames(response.body, patience)) {
        last = frame.id ?? last;
        if (frame.event === "reset") on.fresh();
        else if (frame.event && frame.event !== "dropped") on.event(JSON.parse(frame.data));
      }
    } catch (problem) {
      if (problem.status === 400) last = null; // an id of another service, which knows nothing of ours
    }
    if (signal.aborted) return;
    on.state("away");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));
  }
}

async function* frames(body, patience) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const timer = setTimeout(() => patience.abort(), SILENT_MILLISECONDS);
    const { done, value } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield fields(part);
  }
}

function fields(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) found[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
  }
  return found;
}
