// The stage: shows each picture that the demo sends, and sends what the visitor orders.
//
// A picture is the whole stage at one moment, so the page keeps nothing of its own: what it shows is
// the latest picture, whatever was missed.

import { h } from "/console/assets/dom.js";
import { locale } from "/console/assets/i18n.js";
import { advice, say as told } from "/console/assets/parts/say.js";
import { attribute, list, say } from "./dom.js";
import { frame } from "./frame.js";
import { createRoom, updateRoom } from "./room.js";
import { words } from "./words.js";

const TROUBLES = ["none", "too_fast", "plan_ended", "bad_gateway", "slow", "silent"];
/** Milliseconds between two attempts, where the browser does not try by itself. */
const RETRY = 3000;
/** Milliseconds between two texts that are read out. */
const BREATH = 1500;

const at = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(locale(), { timeStyle: "medium" });
let lastLine = null;
let spokenAt = 0;

/** Sends an order; an error is shown at the top. */
async function order(method, path, body) {
  let problem = null;
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(path, { method, headers, body: JSON.stringify(body) });
    if (!answer.ok) problem = (await answer.json()).detail;
  } catch {
    problem = words.unreachable;
  }
  at("problem").hidden = problem === null;
  say(at("problem"), problem === null ? "" : words.failed(problem));
}

const orders = {
  move: (movement, group, accounts) => order("POST", "/stage/move", { movement, group, accounts }),
  open: (group) => order("POST", "/stage/open", { group }),
  close: (group) => order("POST", "/stage/close", { group }),
};

function show(picture) {
  notice(picture.playing ? words.playing : null);
  at("hands").disabled = picture.playing;
  showChat(picture);
  const create = (room) => createRoom(room, orders);
  list(at("rooms"), picture.rooms, (room) => room.group, create, updateRoom);
  showNews(picture.news);
}

function showChat({ trouble, calls, pause }) {
  say(at("calls"), words.calls(calls.made, calls.failed));
  say(at("hint"), words[`hint_${trouble}`]);
  for (const button of at("troubles").children) {
    attribute(button, "aria-pressed", button.dataset.trouble === trouble);
  }
  at("pause").hidden = pause === null;
  const plain = (text) => text?.textContent ?? text ?? "";
  say(at("pause"), pause === null ? "" : words.pause(plain(told(pause.message)), plain(pause.message && advice(pause.message, pause.advice))));
}

function showNews(news) {
  at("no-news").hidden = news.length > 0;
  const create = (line) => h("li", { class: line.what }, h("time"), " ", h("span"));
  list(at("lines"), news, (line) => line.id, create, (element, line) => {
    say(element.firstElementChild, clock.format(line.at));
    say(element.lastElementChild, text(line));
  });
  const newest = news[0]?.id ?? 0;
  if (lastLine !== null && newest > lastLine && Date.now() - spokenAt > BREATH) {
    spokenAt = Date.now();
    say(at("spoken"), text(news[0]));
  }
  lastLine = newest;
}

function text(line) {
  const who = words.who(line.accounts, line.count - line.accounts.length, line.group);
  return words[line.what](who, line.marks.join(" "), line.delay);
}

function notice(message) {
  at("link").hidden = message === null;
  say(at("link"), message ?? "");
}

let source = null;

function watch() {
  source?.close();
  source = new EventSource("/stage/events");
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => {
    at("hands").disabled = true;
    notice(words.connecting);
    // An answer that is no stream ends the attempts of the browser.
    if (source.readyState === EventSource.CLOSED) setTimeout(watch, RETRY);
  };
}

frame();
at("troubles").append(
  ...TROUBLES.map((trouble) => {
    const click = () => order("PUT", "/stage/trouble", { trouble });
    const properties = { type: "button", "aria-pressed": "false", data: { trouble }, on: { click } };
    return h("button", properties, words[trouble]);
  }),
);
notice(words.connecting);
watch();
// A hidden page gives its seat to others.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) source.close();
  else watch();
});
