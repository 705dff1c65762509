// How numbers, times and licenses read.

const SIXTHS = ["", "⅙", "⅓", "½", "⅔", "⅚"];
const LEG = / as leg [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}| \(leg [^()]*\)$/gi;

/** Return sixths of a license as a mixed fraction, exactly: 7 is "1⅙". */
export function sixths(count) {
  const whole = Math.floor(count / 6);
  return `${whole || !(count % 6) ? whole : ""}${SIXTHS[count % 6]}`;
}

/** Return a weight of the API ("1", "1/6", "7/6") as a mixed fraction. */
export function weight(text) {
  const [top, bottom = "1"] = text.split("/");
  const count = (Number(top) * 6) / Number(bottom);
  return Number.isInteger(count) ? sixths(count) : text;
}

/** Return a time of the API as the clock of this machine shows it; with the day where that is another one. */
export function clock(time, now = new Date()) {
  if (!time) return "";
  const at = new Date(time);
  const shown = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  return at.toDateString() === now.toDateString()
    ? shown
    : `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${shown}`;
}

/** Return how long a time lies back, in the largest unit that says it well. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 5) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

/** Return a reason without the ids of legs, which nobody reads. */
export function reason(text) {
  return (text ?? "").replace(LEG, "");
}

/** Return hours of the API in the unit that says them well. */
export function hours(count) {
  if (count < 1 / 120) return count ? "< 1 min" : "0";
  return count < 1 ? `${Math.round(count * 60)} min` : `${count < 10 ? count.toFixed(1) : Math.round(count)} h`;
}

/** Return a part of a whole in percent. */
export function share(part) {
  return part && part < 0.01 ? "< 1%" : `${Math.round(part * 100)}%`;
}

/** Return the words of a cause or rule: "member_joined" is "member joined". */
export function words(name) {
  return (name ?? "").replaceAll(/[_-]/g, " ");
}

/** Return "1 meeting", "2 meetings". */
export function counted(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

/** Return the name of a license for classes of style. */
export function kind(license) {
  return license?.type === "SMP+" ? "smp" : license?.type === "PMP+" ? "pmp" : "none";
}

/** Return a license in words: "PMP+ of alice@example.com", "⅙ SMP+". */
export function inWords(license) {
  if (!license) return "no license";
  if (license.holder) return `${license.type} of ${license.holder}`;
  return license.weight === "1" || license.weight === undefined ? license.type : `${weight(license.weight)} ${license.type}`;
}
