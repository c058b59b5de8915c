// New alerts. They stand at the top at once while nobody has pointer or focus in the list; else a button counts them,
// so that nothing jumps under the cursor. A hidden tab hangs up, and goes on from where it was when it is seen again.

const SHOWN_MAX = 500;
const table = document.getElementById("queue");
const button = document.getElementById("arrived");
const light = document.getElementById("live");
const waiting = [];
let after = table.dataset.after;
let source = null;
let many = false;

function say(state, text) {
  light.hidden = false;
  light.dataset.state = state;
  light.lastElementChild.textContent = text;
}

function known(id) {
  return document.getElementById(`a-${id}`) !== null || waiting.some((each) => each.id === id);
}

function busy() {
  return table.matches(":hover") || table.contains(document.activeElement) || scrollY > 0;
}

function show() {
  if (many) return location.reload();
  const body = table.tBodies[0];
  for (const { html } of waiting.splice(0)) body.insertAdjacentHTML("afterbegin", html);
  while (body.rows.length > SHOWN_MAX) body.lastElementChild.remove();
  document.getElementById("empty").hidden = true;
  button.hidden = true;
  table.dispatchEvent(new CustomEvent("shown"));
}

function offer() {
  button.hidden = false;
  button.textContent = many ? "Many new alerts: load them" : `${waiting.length} new alert${waiting.length === 1 ? "" : "s"}: show`;
}

function take(event) {
  after = event.lastEventId || after;
  const alert = JSON.parse(event.data);
  if (known(alert.id)) return;
  waiting.push(alert);
  if (waiting.length > SHOWN_MAX) many = true;
  if (many || busy()) offer();
  else show();
}

function connect() {
  const query = new URLSearchParams(table.dataset.query);
  query.set("after", after);
  source = new EventSource(`/live/alerts?${query}`);
  source.addEventListener("open", () => say("on", "live"));
  source.addEventListener("alert", take);
  source.addEventListener("many", (event) => {
    after = event.lastEventId || after;
    many = true;
    offer();
  });
  source.addEventListener("error", () => {
    const ended = source.readyState === EventSource.CLOSED;
    say("off", ended ? "not live" : "connecting");
  });
}

function follow() {
  if (document.hidden) {
    source?.close();
    source = null;
  } else if (!source) connect();
}

button.addEventListener("click", () => {
  scrollTo({ top: 0 });
  show();
});
document.addEventListener("visibilitychange", follow);
addEventListener("pagehide", () => source?.close());
follow();
