// The page of `headgate run --observe`: one stream of events in, the document out.
//
// Everything that comes from requests is set as text, never as markup. What is drawn anew keeps what a person did to it:
// open entries stay open, the focus stays where it is.

const KEPT = 300;
const MORE = 50;
const FIRST = matchMedia("(max-width: 760px)").matches ? 10 : 25;
const BARS = 60;
const NEAR = 0.8;

const ERRORS = {
  client_gone: "The client hung up before its answer was complete.",
  bad_request: "The gateway refused the request as it is: malformed, too large, or not to be translated.",
  unauthenticated: "The client showed no key that is known here.",
  forbidden: "The client may not do this.",
  not_found: "No such model or path is served here.",
  limited: "A limit refused it.",
  upstream_limited: "The provider answered 429: a limit of its own.",
  upstream_refused: "The provider refused the request.",
  upstream_failed: "The provider failed.",
  upstream_timeout: "The provider took too long.",
  upstream_reset: "The connection to the provider failed or broke off.",
  no_backend: "No backend could be asked: none healthy, none known, or too many requests waiting.",
  internal: "The gateway failed.",
};
const CLIENTS_FAULT = new Set(["client_gone", "bad_request", "unauthenticated", "forbidden", "not_found", "limited"]);

// --- small tools

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** An element; attributes that are null are left out, children may be text. */
function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}
function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Draws a part again only when what it shows has changed. Entries with a `data-key` stay open. */
const drawn = new Map();
function redraw(id, value, draw) {
  const text = JSON.stringify(value);
  if (drawn.get(id) === text) return;
  drawn.set(id, text);
  const part = byId(id);
  const open = new Set([...part.querySelectorAll("details[open]")].map((each) => each.dataset.key));
  const focused = part.contains(document.activeElement) ? document.activeElement.closest("[data-key]")?.dataset.key : null;
  part.replaceChildren(...draw(value));
  for (const each of part.querySelectorAll("[data-key]")) {
    if (open.has(each.dataset.key)) each.open = true;
    if (focused !== null && each.dataset.key === focused) each.querySelector("summary")?.focus({ preventScroll: true });
  }
}

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const number = (value) => (Math.abs(value) >= 100000 ? compact : whole).format(value);
const rate = (value) => (value >= 100 ? number(value) : tenths.format(value));
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
const percent = (part, all) => (all ? `${tenths.format((100 * part) / all)} %` : "0 %");

function dollars(nanos) {
  const value = nanos / 1e9;
  if (value === 0) return "$0";
  if (value < 0.01) return `$${value.toLocaleString("en-US", { minimumSignificantDigits: 2, maximumSignificantDigits: 2 })}`;
  const digits = value >= 100 ? 0 : value >= 1 ? 2 : 3;
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}
function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${tenths.format(ms)} ms`;
  if (ms < 1000) return `${whole.format(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  return span(ms / 1000);
}
function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, length]) => seconds >= length);
  if (at === -1) return "under 1 s";
  const [name, length] = units[at];
  const first = Math.floor(seconds / length);
  const next = units[at + 1];
  const rest = next && first < 10 ? Math.floor((seconds - first * length) / next[1]) : 0;
  return rest ? `${first} ${name} ${rest} ${next[0]}` : `${first} ${name}`;
}
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
/** `<namespace>/<name>/…` as people say it. */
function backendName(name) {
  const [namespace, own] = name.split("/");
  if (own === undefined) return name || "unknown";
  return namespace === "default" ? own : `${namespace}/${own}`;
}
const words = (kind) => kind.replaceAll("_", " ");

// --- at a glance

function tile(label, value, unit, more, bad = false) {
  return h("div", { class: bad ? "tile bad" : "tile" },
    h("div", { class: "label" }, label),
    h("div", { class: "value" }, value, unit ? h("small", {}, ` ${unit}`) : null),
    h("div", { class: "more" }, more.split(" · ").flatMap((each, at) => [at ? " · " : "", h("span", {}, each)])),
  );
}

function tiles(look) {
  const { rate: recent, window, total, durations, first_tokens: first } = look;
  const seconds = look.rate_seconds;
  const ours = look.window.errors - clientsFaults(look);
  const over = window.failed_over ? ` · ${number(window.failed_over)} failed over` : "";
  const rest = (times) => (times.count ? `p50 ${duration(times.p50)} · p99 ${duration(times.p99)}` : "nothing timed yet");
  return [
    tile("Requests", number(recent.requests), "in a minute", `${number(window.requests)} in 15 min${over}`),
    tile("Tokens", rate((recent.input + recent.output) / seconds), "a second",
      `${rate(recent.input / seconds)} in · ${rate(recent.output / seconds)} out`),
    tile("Cost", dollars(window.cost_nanos), "in 15 min",
      window.unpriced ? `${plural(window.unpriced, "request")} without a price` : `${dollars(total.cost_nanos)} since the start`),
    tile("Errors", percent(window.errors, window.requests), "", errorWords(look), ours > 0 && ours * 20 >= window.requests),
    tile("Latency, p95", duration(durations.p95), "", rest(durations)),
    tile("First token, p95", duration(first.p95), "", first.count ? rest(first) : "no streams yet"),
  ];
}

function clientsFaults(look) {
  return Object.entries(look.errors).reduce((sum, [kind, count]) => (CLIENTS_FAULT.has(kind) ? sum + count : sum), 0);
}

/** All errors in a few words: the commonest kinds that are not the clients', and how many are theirs. */
function errorWords(look) {
  const kinds = Object.entries(look.errors).filter(([kind]) => !CLIENTS_FAULT.has(kind)).sort((a, b) => b[1] - a[1]);
  const rest = kinds.slice(2).reduce((sum, [, count]) => sum + count, 0);
  const theirs = clientsFaults(look);
  const said = [
    ...kinds.slice(0, 2).map(([kind, count]) => `${number(count)} ${words(kind)}`),
    rest ? `${number(rest)} others` : "",
    theirs ? `${number(theirs)} by clients` : "",
  ];
  return said.filter(Boolean).join(" · ") || "none in 15 min";
}

// --- charts

/** Slots joined `by` so many, aligned to the clock so that bars do not change as time goes by. */
function groups(look, by) {
  const newest = Math.floor(look.now / look.slot_seconds);
  const last = Math.floor(newest / by);
  const found = Array.from({ length: BARS }, (_, index) => ({
    begins: (last - BARS + 1 + index) * by * look.slot_seconds, requests: 0, errors: 0, input: 0, output: 0,
  }));
  look.slots.forEach(([requests, errors, input, output], index) => {
    const at = Math.floor((newest - look.slots.length + 1 + index) / by) - last + BARS - 1;
    if (at < 0) return;
    found[at].requests += requests;
    found[at].errors += errors;
    found[at].input += input;
    found[at].output += output;
  });
  return found;
}

function ceiling(value) {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].map((step) => step * power).find((step) => step >= value);
}

/** Stacked bars over the last minutes. `series` are [class, value of a group]. */
function bars(figure, caption, keys, all, minutes, series, say) {
  const width = Math.max(figure.clientWidth - 34, 200);
  const height = 116, floor = height - 16, left = 34;
  const top = ceiling(Math.max(...all.map((group) => series.reduce((sum, [, of]) => sum + of(group), 0))));
  const step = (width - left) / all.length;
  const shapes = all.flatMap((group, index) => {
    let base = floor;
    const drawnBars = series.map(([name, of]) => {
      const tall = (of(group) / top) * (floor - 8);
      base -= tall;
      return tall ? s("rect", { class: name, x: left + index * step, y: base, width: Math.max(step - 1.5, 1), height: tall }) : null;
    });
    const title = s("title", {}, `${clock(group.begins)}: ${say(group)}`);
    const hover = s("rect", { x: left + index * step, y: 0, width: step, height: floor, fill: "transparent" }, title);
    return [...drawnBars, hover];
  });
  const line = (y) => s("line", { class: "axis", x1: left, x2: width, y1: y, y2: y });
  const label = (x, y, anchor, text) => s("text", { x, y, "text-anchor": anchor }, text);
  figure.replaceChildren(
    h("figcaption", {}, h("b", {}, caption), ...keys),
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${caption}: the highest is ${say(all.reduce((a, b) => (series.reduce((sum, [, of]) => sum + of(b) - of(a), 0) > 0 ? b : a)))}` },
      line(8), line(floor), ...shapes,
      label(left - 6, 12, "end", number(top)), label(left - 6, floor, "end", "0"),
      label(left, height - 3, "start", `${minutes} min ago`), label(width, height - 3, "end", "now"),
    ),
  );
}

function charts(look) {
  // A gateway that has just been started would show an almost empty quarter of an hour.
  const by = look.slots.length <= BARS ? 1 : 3;
  const all = groups(look, by);
  const seconds = by * look.slot_seconds;
  const minutes = Math.round((BARS * seconds) / 60);
  bars(byId("chart-tokens"), "Tokens per second", [h("span", { class: "key" }, "in"), h("span", { class: "key second" }, "out")], all, minutes,
    [["fill-first", (group) => group.input / seconds], ["fill-second", (group) => group.output / seconds]],
    (group) => `${number(group.input)} tokens in, ${number(group.output)} out`);
  bars(byId("chart-requests"), `Requests per ${seconds} s`, [h("span", { class: "key" }, "served"), h("span", { class: "key bad" }, "errors")], all, minutes,
    [["fill-first", (group) => group.requests - group.errors], ["fill-bad", (group) => group.errors]],
    (group) => `${plural(group.requests, "request")}, ${plural(group.errors, "error")}`);
}

// --- requests

const requests = [];
let filter = "all";
let room = FIRST;
let wanted = "";
let missed = 0;

const failedOver = (request) => new Set(request.attempts.map((attempt) => attempt.backend)).size > 1;
const FILTERS = {
  all: () => true,
  errors: (request) => request.error !== "",
  failovers: failedOver,
  limited: (request) => request.error === "limited",
};
function shown(request) {
  if (!FILTERS[filter](request)) return false;
  if (!wanted) return true;
  const texts = [request.asked, request.sent, request.answered, request.client, request.team, request.route, request.request_id,
    request.id, request.response_id, request.error, request.lane, ...request.attempts.map((attempt) => attempt.backend)];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

function tone(request) {
  if (!request.error) return "good";
  return CLIENTS_FAULT.has(request.error) ? "warn" : "bad";
}

function requestLine(request) {
  const last = request.attempts.at(-1);
  const cell = (name, ...children) => h("span", { class: `cell ${name}` }, ...children);
  const changed = request.sent && request.sent !== request.asked;
  const tried = request.attempts.length > 1 ? plural(request.attempts.length, "attempt") : "";
  const lane = h("span", { class: `tag ${request.lane}` }, request.lane);
  const tokens = request.input === null && request.output === null ? "–" : `${number(request.input ?? 0)} → ${number(request.output ?? 0)}`;
  return h("summary", {},
    cell("c-time time", clock(request.started)),
    cell("c-model", h("span", { class: "line" }, request.asked || request.path || "–"),
      h("small", { class: "line" }, [changed ? `as ${request.sent}` : "", request.client].filter(Boolean).join(" · "))),
    cell("c-served", h("span", { class: "line" }, last ? backendName(last.backend) : "the gateway"),
      h("small", { class: "line" }, lane, tried ? ` ${tried}` : "")),
    cell("c-tokens num", tokens, tokens === "–" ? null : h("span", { class: "unit" }, " tokens")),
    cell("c-cost num", request.cost_nanos === null ? "–" : dollars(request.cost_nanos)),
    cell("c-first num", request.ttft_ms === null ? "–" : duration(request.ttft_ms)),
    cell("c-took num", duration(request.duration_ms)),
    cell("c-status num", h("span", { class: `line status ${tone(request)}` }, request.status ? String(request.status) : "none"),
      request.error ? h("small", { class: "line" }, " " + words(request.error)) : null),
  );
}

function attemptLine(attempt, index, request, begins) {
  const all = Math.max(request.duration_ms, 1);
  const outcome = attempt.error
    ? h("span", { class: "status bad" }, `${attempt.status || "no answer"} ${words(attempt.error)}`)
    : h("span", { class: "status good" }, String(attempt.status || "answered"));
  const bar = s("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: attempt.error ? "fill-bad" : "fill-first", x: Math.min((100 * begins) / all, 99), y: 0,
      width: Math.max((100 * attempt.duration_ms) / all, 1), height: 6 }));
  return h("li", { class: "attempt" },
    h("span", { class: "n" }, `${index + 1}.`),
    h("span", {}, `${backendName(attempt.backend)}: `, outcome, ` after ${duration(attempt.duration_ms)}`),
    bar,
    attempt.why ? h("span", { class: "why" }, attempt.why) : null,
  );
}

function explanation(request) {
  const said = [];
  if (!request.attempts.length) said.push("No backend was asked: the gateway answered by itself.");
  else if (failedOver(request)) said.push(`${plural(request.attempts.length, "backend")} asked in turn, as the rule's priorities say.`);
  else if (request.attempts.length > 1) said.push("The same backend was asked again.");
  if (request.lane === "native") said.push("Envoy served it alone; no Python was in its path.");
  if (request.lane === "extproc") said.push("The processor translated it.");
  if (request.error) said.push(ERRORS[request.error] ?? `It ended with ${words(request.error)}.`);
  if (request.error === "internal" && request.lane === "local") said.push("Configuration tells whether its route is in force.");
  return said.join(" ");
}

function requestDetail(request) {
  const facts = [
    ["asked for", request.asked], ["sent as", request.sent], ["answered as", request.answered],
    ["answer's id", request.response_id], ["ended with", request.ended],
    ["client", request.client], ["team", request.team], ["path", request.path], ["route", request.route],
    ["stream", request.stream ? "yes" : "no"],
    ["tokens in", tokenFact(request.input, request.cached, "cached")], ["tokens out", tokenFact(request.output, request.reasoning, "reasoning")],
    ["counted", { reported: "by the provider", estimated: "by the gateway: the answer broke off", none: "nothing" }[request.usage] ?? request.usage],
    ["cost", costFact(request)],
    ["lost in translation", request.losses.replaceAll(";", " ")], ["x-request-id", request.request_id], ["record", request.id],
  ];
  let begins = 0;
  const attempts = request.attempts.map((attempt, index) => {
    const line = attemptLine(attempt, index, request, begins);
    begins += attempt.duration_ms;
    return line;
  });
  return h("div", { class: "detail" },
    h("p", {}, explanation(request)),
    attempts.length ? h("div", {}, h("h3", {}, attempts.length > 1 ? "Attempts" : "Attempt"), h("ol", {}, attempts)) : null,
    h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}
function costFact(request) {
  if (request.cost_nanos !== null) return dollars(request.cost_nanos);
  return request.input === null && request.output === null ? "" : "no price for this model";
}
function tokenFact(count, part, name) {
  if (count === null) return "";
  return part ? `${number(count)}, ${number(part)} of them ${name}` : number(count);
}

function requestEntry(request, arriving) {
  const details = h("details", { class: arriving ? "request new" : "request", "data-key": request.id }, requestLine(request));
  // What an entry holds is made when it is opened: most never are.
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(requestDetail(request));
  });
  return h("li", {}, details);
}

function addRequests(news, missedNow) {
  const seen = new Set(requests.map((request) => request.id));
  const fresh = news.filter((request) => !seen.has(request.id));
  missed += missedNow;
  if (!fresh.length) return;
  requests.unshift(...fresh.toReversed());
  requests.splice(KEPT);
  const list = byId("list");
  for (const request of fresh.filter(shown).slice(-room)) list.prepend(requestEntry(request, fresh.length < 50));
  fitList();
}
function listAgain() {
  byId("list").replaceChildren(...requests.filter(shown).slice(0, room).map((request) => requestEntry(request, false)));
  fitList();
}
/** As many entries as there is room for, but none that somebody has opened goes. */
function fitList() {
  const list = byId("list");
  for (const entry of [...list.children].slice(room)) {
    if (!entry.firstChild.open) entry.remove();
  }
  const hidden = requests.filter(shown).length - list.children.length;
  byId("more").hidden = hidden <= 0;
  setText(byId("more"), `Show ${number(Math.min(hidden, MORE))} more of ${number(hidden)}`);
  let text = "";
  if (!requests.length) text = "No requests yet.";
  else if (!list.children.length) text = "None of the latest requests is like that.";
  else if (missed) text = `${plural(missed, "request")} came faster than this page reads; all of them are counted above.`;
  byId("list-note").hidden = !text;
  setText(byId("list-note"), text);
}

// --- backends

function backendTone(backend) {
  const [attempts, failed] = backend.recent;
  if (failed && failed * 2 >= attempts) return "bad";
  return failed ? "warn" : "good";
}

function backends(look) {
  if (!look.backends.length) return [h("p", { class: "quiet" }, "None was asked in the last 15 minutes.")];
  return look.backends.map((backend) => {
    const mood = backendTone(backend);
    const [attempts, failed] = backend.recent;
    const kinds = Object.entries(backend.errors).sort((a, b) => b[1] - a[1]);
    return h("div", { class: "backend", "data-backend": backend.name },
      h("div", { class: "row" },
        h("span", { class: `dot ${mood}`, "aria-hidden": "true" }), h("span", { class: "name" }, backendName(backend.name)),
        h("span", { class: "end" }, `p95 ${duration(backend.times.p95)}`)),
      h("p", { class: "small" }, `${plural(backend.attempts, "attempt")}, ${percent(backend.failed, backend.attempts)} failed`,
        backend.failed_over ? `, ${number(backend.failed_over)} failed over to another` : ""),
      failed ? h("p", { class: `small ${mood}` }, `${mood === "bad" ? "Failing now" : "Failures now"}: ${number(failed)} of ${plural(attempts, "attempt")} in the last minute`) : null,
      kinds.length ? h("p", { class: "small" }, kinds.map(([kind, count]) => `${number(count)} × ${words(kind)}`).join(", ")) : null,
    );
  });
}

// --- limits

function amount(value, what) {
  if (what === "usd") return dollars(value);
  return `${number(value)}${what ? ` ${what}` : ""}`;
}
function limitTone(limit) {
  const share = used(limit);
  return share >= 1 ? "bad" : share >= NEAR ? "warn" : "";
}
const used = (limit) => (limit.remaining <= 0 ? 1 : limit.used / (limit.used + limit.remaining));
/** Whose it is and which, since many policies call one of theirs "all"; and of what kind. */
function limitName(name) {
  const [kind, namespace, policy, ...rest] = name.split("/");
  if (!policy) return [name, ""];
  const own = rest.at(-1) ?? policy;
  return [own === policy ? policy : `${policy}/${own}`, namespace === "default" ? kind : `${kind} in ${namespace}`];
}
function within(limit) {
  if (limit.per === "lifetime") return " in all, for ever";
  const per = limit.per ? ` ${limit.per === "hour" ? "an" : "a"} ${limit.per}` : "";
  return limit.reset_seconds ? `${per} · resets in ${span(limit.reset_seconds)}` : per;
}

function limits(found) {
  if (found.error) return [h("p", { class: "quiet" }, found.error)];
  if (!found.counters.length && !found.unused.length) {
    return [h("p", { class: "quiet" }, "Nothing is limited. A LimitPolicy or a BackendTrafficPolicy would be shown here.")];
  }
  return [
    ...found.counters.map((limit) => {
      const mood = limitTone(limit);
      const share = Math.min(used(limit), 1);
      const [name, policy] = limitName(limit.name);
      const who = limit.who.map(({ key, value }) => (key === value ? value : `${key.replace("header:", "")} ${value}`)).join(", ");
      const left = limit.remaining <= 0 ? "used up" : `${amount(limit.remaining, limit.what)} left`;
      return h("div", { class: "limit", "data-limit": limit.name },
        h("div", { class: "row" }, h("span", { class: "name" }, name), h("span", { class: "small" }, who),
          h("span", { class: mood ? `end small ${mood}` : "end" }, mood === "warn" ? `nearly used, ${left}` : left)),
        s("svg", { class: `meter ${mood}`, viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "meter", "aria-valuemin": 0,
          "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share), "aria-label": `${name} ${who} used` },
          s("rect", { width: Math.max(100 * share, limit.used ? 1 : 0), height: 8 })),
        h("p", { class: "small", title: limit.words }, `${limit.what === "usd" ? dollars(limit.used) : number(limit.used)} of ${amount(limit.used + Math.max(limit.remaining, 0) || limit.amount, limit.what)}`,
          within(limit),
          limit.shadow ? " · only counts (shadow)" : "", policy ? ` · ${policy}` : ""),
      );
    }),
    found.more ? h("p", { class: "quiet" }, `${number(found.more)} more are less used.`) : null,
    found.unused.length ? h("p", { class: "small" }, "Not used yet: ", found.unused.map((limit) => limitName(limit.name)[0]).join(", ")) : null,
  ].filter(Boolean);
}

// --- configuration

function objectEntry(object) {
  const conditions = (each) => [
    ...each.holds.map((type) => h("li", {}, type)),
    ...each.fails.map((fail) => h("li", { class: "bad-text" }, `not ${fail.type} (${fail.reason}): ${fail.message}`)),
  ];
  const below = (each) => h("li", {}, each.name, h("ul", {}, conditions(each)));
  return h("details", { class: "object", "data-key": object.name },
    h("summary", {}, h("span", { class: `dot ${object.in_force ? "good" : "bad"}`, "aria-hidden": "true" }),
      h("span", { class: "name" }, object.name), object.in_force ? null : h("span", { class: "end small bad" }, "not in force")),
    h("ul", {}, conditions(object), object.below.map(below)),
  );
}

function configuration(found) {
  const problem = (text, error) => h("p", { class: error ? "problem error" : "problem" }, text);
  const away = Object.entries(found.children).filter(([, child]) => !child.running);
  const fine = found.objects.filter((object) => object.in_force);
  const broken = found.objects.filter((object) => !object.in_force);
  const unnamed = found.object_count - found.objects.length;
  return [
    found.error ? problem(`Not built: ${found.error}`, true) : null,
    ...found.refusals.map((text) => problem(`Envoy refused: ${text}`, true)),
    ...away.map(([name]) => problem(`${name} is not running; it is started again.`, true)),
    ...found.problems.map((text) => problem(text, text.includes("error:"))),
    found.more_problems ? h("p", { class: "quiet" }, `${plural(found.more_problems, "more problem")}`) : null,
    ...broken.map(objectEntry),
    h("details", { class: "object", "data-key": "(in force)" },
      h("summary", {}, h("span", { class: "dot good", "aria-hidden": "true" }), h("span", { class: "name" },
        broken.length || unnamed ? `${plural(found.in_force, "object")} in force` : `All ${plural(found.in_force, "object")} in force`)),
      h("div", { class: "inside" }, fine.map(objectEntry), unnamed > 0 ? h("p", { class: "small" }, `${number(unnamed)} more`) : null)),
  ].filter(Boolean);
}

// --- what is true of the whole

const known = { configuration: null, connected: false, paused: false };

function badge(name, count, warn = false) {
  const element = byId(`badge-${name}`);
  element.hidden = !count;
  element.className = warn ? "badge warn" : "badge";
  setText(element, count ? String(count) : "");
}

function showState() {
  const found = known.configuration;
  const dot = document.querySelector("#state .dot");
  const [mood, text] = !known.connected && !known.paused ? ["bad", found ? "not connected; trying again" : "connecting"]
    : known.paused ? ["warn", "paused"]
    : !found ? ["", "connecting"]
    : !found.ready ? ["warn", "not serving"]
    : found.error || found.refusals.length ? ["warn", "serving, but not the newest configuration"]
    : found.in_force < found.object_count ? ["warn", `serving; ${plural(found.object_count - found.in_force, "object")} not in force`]
    : ["good", "serving"];
  dot.className = `dot ${mood}`;
  setText(byId("state-text"), text);
  document.title = mood === "good" ? "Headgate" : `${text} · Headgate`;
}

function onConfiguration(found) {
  known.configuration = found;
  showState();
  setText(byId("urls"), found.urls.join("  "));
  const broken = found.object_count - found.in_force + found.refusals.length + (found.error ? 1 : 0);
  badge("configuration", broken || found.problems.length, !broken);
  setText(byId("curl"), found.try);
  redraw("configuration-body", found, configuration);
}

function onSeen(seen) {
  const { look } = seen;
  const any = look.total.requests > 0;
  byId("empty").hidden = any || !known.configuration?.try;
  byId("charts").hidden = !any;
  byId("tiles").replaceChildren(...tiles(look));
  if (any) charts(look);
  addRequests(seen.requests, seen.missed);
  redraw("backends-body", look.backends, () => backends(look));
  badge("backends", look.backends.filter((backend) => backendTone(backend) === "bad").length);
  setText(byId("foot"), `Counted since ${clock(look.since)}: ${plural(look.total.requests, "request")}, ${plural(look.total.input + look.total.output, "token")}, ${dollars(look.total.cost_nanos)}.`
    + (seen.dropped ? ` ${plural(seen.dropped, "record")} could not be stored and were dropped.` : "")
    + " Prompts, answers and keys are never on this page.");
}

function onLimits(found) {
  redraw("limits-body", found, limits);
  const counters = found.counters ?? [];
  const full = counters.filter((limit) => limitTone(limit) === "bad").length;
  badge("limits", full || counters.filter((limit) => limitTone(limit) === "warn").length, !full);
}

// --- the stream

let source = null;
let seenUntil = "";

function connect() {
  source = new EventSource(`/events?after=${encodeURIComponent(seenUntil)}`);
  const on = (name, take) => source.addEventListener(name, (event) => {
    seenUntil = event.lastEventId;
    take(JSON.parse(event.data));
  });
  source.addEventListener("open", () => { known.connected = true; showState(); });
  source.addEventListener("error", () => {
    known.connected = false;
    showState();
    // A browser gives up by itself only where the answer was no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (!known.paused && !document.hidden) connect(); }, 3000);
  });
  on("configuration", onConfiguration);
  on("limits", onLimits);
  on("seen", onSeen);
  on("trouble", ({ text }) => {
    byId("trouble").hidden = !text;
    setText(byId("trouble"), text ?? "");
  });
}

byId("pause").addEventListener("click", () => {
  known.paused = !known.paused;
  byId("pause").setAttribute("aria-pressed", String(known.paused));
  setText(byId("pause"), known.paused ? "Go on" : "Pause");
  if (known.paused) source.close();
  else connect();
  showState();
});
// A browser holds six streams to one address: a page that nobody sees must not keep the next one waiting.
document.addEventListener("visibilitychange", () => {
  if (known.paused) return;
  source.close();
  if (!document.hidden) connect();
});
byId("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(byId("curl").textContent);
  setText(byId("copy"), "Copied");
  setTimeout(() => setText(byId("copy"), "Copy"), 2000);
});
for (const button of document.querySelectorAll("[data-filter]")) {
  button.addEventListener("click", () => {
    filter = button.dataset.filter;
    for (const each of document.querySelectorAll("[data-filter]")) each.setAttribute("aria-pressed", String(each === button));
    listAgain();
  });
}
byId("search").addEventListener("input", (event) => {
  wanted = event.target.value.trim().toLowerCase();
  listAgain();
});

byId("more").addEventListener("click", () => {
  room += MORE;
  listAgain();
});

fitList();
connect();
