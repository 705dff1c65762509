// What the page knows, read from the query API, and how it is kept true. Events say what has changed; what it is now is
// always asked of the API, so the page and the API never tell different numbers.

import { all, get } from "./api.js";

const MEETINGS_MOST = 2000;
const BRIDGES_MOST = 5000; // of all deployments
const ASKED_SINGLY = 8; // changed meetings; with more of them the whole list is asked for
const PAUSE_MILLISECONDS = 500;
const PAUSE_SHARE = 8; // the service works for this page at most an eighth of the time
const ALL_ANEW_MILLISECONDS = 60000;
const BRIDGES_MILLISECONDS = 5000;
const HISTORY_MILLISECONDS = 30000;
const HISTORY_HOURS = 3;
const PAST_MOST = 100; // the Meeting Server tells twelve an hour
const SWITCHES = 200; // as many as a busy deployment has in the five minutes that the page counts

/** The state of one deployment. `changed` is called after each reading, and with a sentence where one failed. */
export class State {
  constructor(deployment, changed, signal) {
    this.deployment = deployment;
    this.meetings = new Map();
    this.more = false;
    this.usage = null;
    this.switches = [];
    this.moreSwitches = false;
    this.bridges = [];
    this.history = null;
    this.changed = changed;
    this.signal = signal;
    this.dirty = new Set();
    this.due = { meetings: true, usage: true, switches: true, bridges: true, history: true };
    this.read = { meetings: 0, bridges: 0, history: 0 };
    this.wake = () => {};
  }

  /** Hear of an event. */
  heard(event) {
    if (event.meeting) this.dirty.add(event.meeting);
    if (event.event.startsWith("license.")) this.due.switches = true;
    if (event.event === "records.missing" || event.event === "session.replaced") this.due.bridges = true;
    if (event.event === "directory.changed") this.due.meetings = true;
    this.due.usage = true;
    this.wake();
  }

  /** Read everything anew. */
  fresh() {
    for (const part of Object.keys(this.due)) this.due[part] = true;
    this.wake();
  }

  /** Keep reading what has changed, until the signal ends it. */
  async keep() {
    while (!this.signal.aborted) {
      const begun = performance.now();
      try {
        if (!document.hidden) await this.refresh();
      } catch (problem) {
        if (this.signal.aborted) return;
        this.changed(this, problem.message); // what is due stays due
      }
      const pause = Math.max(PAUSE_MILLISECONDS, (performance.now() - begun) * PAUSE_SHARE);
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (!this.somethingIsDue()) await this.rest();
    }
  }

  somethingIsDue() {
    const now = Date.now();
    this.due.meetings ||= now - this.read.meetings > ALL_ANEW_MILLISECONDS;
    this.due.bridges ||= now - this.read.bridges > BRIDGES_MILLISECONDS;
    this.due.history ||= this.history !== null && now - this.read.history > HISTORY_MILLISECONDS;
    return this.dirty.size > 0 || Object.values(this.due).some(Boolean);
  }

  rest() {
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, 1000);
    });
  }

  async refresh() {
    const due = { ...this.due };
    const dirty = new Set(this.dirty);
    for (const part of Object.keys(due)) this.due[part] = false;
    this.dirty.clear();
    try {
      if (due.meetings || dirty.size > ASKED_SINGLY) await this.readMeetings();
      else await Promise.all([...dirty].map((id) => this.readMeeting(id)));
      if (due.usage) this.usage = (await this.ask("v1/usage", { limit: 500 })).items.find((one) => one.deployment === this.deployment);
      if (due.switches) await this.readSwitches();
      if (due.bridges) await this.readBridges();
      if (due.history) await this.readHistory();
    } catch (problem) {
      for (const part of Object.keys(due)) this.due[part] ||= due[part];
      dirty.forEach((id) => this.dirty.add(id));
      throw problem;
    }
    this.changed(this);
  }

  ask(path, parameters) {
    return get(path, parameters, { signal: this.signal });
  }

  async readMeetings() {
    const { items, more } = await all("v1/calls", { deployment: this.deployment }, MEETINGS_MOST);
    const groups = Map.groupBy(items, (call) => call.meeting);
    this.meetings = new Map(Array.from(groups, ([id, calls]) => [id, ofCalls(id, calls)]));
    this.more = more;
    this.read.meetings = Date.now();
    // Somebody who is in two calls of a meeting counts once; only the meeting itself tells that.
    await Promise.all([...groups].filter(([, calls]) => calls.length > 1).map(([id]) => this.readMeeting(id)));
  }

  async readMeeting(id) {
    try {
      const meeting = await this.ask(`v1/meetings/${encodeURIComponent(id)}`, { deployment: this.deployment });
      if (meeting.state === "active") this.meetings.set(id, meeting);
      else this.meetings.delete(id);
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      this.meetings.delete(id);
    }
  }

  async readSwitches() {
    const asked = { deployment: this.deployment, late: "all", limit: SWITCHES };
    const { items, next } = await this.ask("v1/switches", asked);
    this.switches = items;
    this.moreSwitches = next !== null;
  }

  async readBridges() {
    const { items } = await all("v1/bridges", {}, BRIDGES_MOST);
    this.bridges = items.filter((one) => one.deployment === this.deployment);
    this.read.bridges = Date.now();
  }

  async readHistory() {
    const until = new Date();
    const since = new Date(until - HISTORY_HOURS * 3600000);
    const asked = { deployment: this.deployment, since: since.toISOString() };
    this.read.history = Date.now();
    try {
      const [ours, theirs] = await Promise.all([
        this.ask("v1/usage/history", { ...asked, step: "1m", limit: 500 }),
        this.ask("v1/reconciliation/past", { ...asked, limit: PAST_MOST }),
      ]);
      this.history = { since, until, items: ours.items.toReversed(), theirs: theirs.items.toReversed() };
    } catch (problem) {
      if (problem.status !== 404 && problem.status !== 400) throw problem;
      this.history = null;
    }
  }
}

/** Return a meeting as its calls tell it. */
function ofCalls(id, calls) {
  const first = calls.toSorted((one, other) => one.started_at.localeCompare(other.started_at))[0];
  return {
    ...first,
    id,
    calls,
    participants: calls.reduce((sum, call) => sum + call.participants, 0),
    recording: calls.some((call) => call.recording),
    streaming: calls.some((call) => call.streaming),
    complete: calls.every((call) => call.complete),
  };
}
