// The stage: asks the demo for a picture again and again, and sends what the visitor orders.
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

/** What can be wrong with Chat, with the effect of its fault. */
const TROUBLES = {
  none: null,
  too_fast: { error_code: 60007 },
  plan_ended: { error_code: 60020 },
  bad_gateway: { http_status: 502 },
  slow: { delay_ms: 3000 },
  silent: "lose_callback",
};
/** Accounts that one line names; the others are counted. */
const NAMED = 3;
/** Milliseconds between two pictures. */
const PAUSE = 150;
/** Milliseconds between two texts that are read out. */
const BREATH = 1500;

const at = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(locale(), { timeStyle: "medium" });
let lastLine = null;
let spokenAt = 0;

/** Sends an order; an error is shown at the top. */
async function order(command) {
  let problem = null;
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/stage/order", { method: "POST", headers, body: JSON.stringify(command) });
    if (!answer.ok) problem = (await answer.json()).detail;
  } catch {
    problem = words.unreachable;
  }
  at("problem").hidden = problem === null;
  say(at("problem"), problem === null ? "" : words.failed(problem));
}

const orders = {
  move: (movement, group, accounts) => order({ [movement]: { group, accounts } }),
  open: (group) => order({ create: { group } }),
  close: (group) => order({ destroy: { group } }),
};

function show(picture) {
  notice(picture.playing ? words.playing : null);
  at("hands").disabled = picture.playing;
  showChat(picture);
  const create = (room) => createRoom(room, orders);
  list(at("rooms"), picture.rooms, (room) => room.group, create, updateRoom);
  showNews(picture.news);
}

/** Which trouble the faults are; "other" when they were not set here. */
function troubleOf(faults) {
  const [fault, more] = Object.values(faults);
  if (!fault) return "none";
  const conditions = { ...fault, effect: null, seed: null };
  const plain = !more && Object.values(conditions).every((condition) => condition === null);
  const same = ([, effect]) => JSON.stringify(effect) === JSON.stringify(fault.effect);
  return (plain && Object.entries(TROUBLES).find(same)?.[0]) || "other";
}

function showChat({ faults, calls, pause }) {
  const trouble = troubleOf(faults);
  say(at("calls"), words.calls(calls.made, calls.failed));
  say(at("hint"), words[`hint_${trouble}`]);
  for (const button of at("troubles").children) {
    attribute(button, "aria-pressed", button.dataset.trouble === trouble);
  }
  at("pause").hidden = pause === null;
  const plain = (text) => text?.textContent ?? text ?? "";
  say(at("pause"), pause === null ? "" : words.pause(plain(told(pause.message)), plain(pause.message && advice(pause.message, pause.advice))));
}

/** One line for all members of a room with the same change at once. */
function grouped(news) {
  const groups = new Map();
  for (const { account, delay, ...change } of news) {
    const key = [change.at, change.group, change.what, change.marks].join();
    if (!groups.has(key)) groups.set(key, { ...change, delay, accounts: [] });
    const line = groups.get(key);
    line.accounts.push(account);
    line.delay = Math.max(line.delay, delay) || delay;
  }
  return [...groups.values()];
}

function showNews(changes) {
  const news = grouped(changes);
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
  const named = line.accounts.slice(0, NAMED);
  const who = words.who(named, line.accounts.length - named.length, line.group);
  return words[line.what](who, line.marks.join(" "), line.delay);
}

function notice(message) {
  at("link").hidden = message === null;
  say(at("link"), message ?? "");
}

async function watch() {
  if (!document.hidden) {
    const read = (answer) => (answer.ok ? answer.json() : null);
    const picture = await fetch("/stage/picture").then(read).catch(() => null);
    if (picture) show(picture);
    else {
      at("hands").disabled = true;
      notice(words.connecting);
    }
  }
  setTimeout(watch, PAUSE);
}

frame();
at("troubles").append(
  ...Object.entries(TROUBLES).map(([trouble, effect]) => {
    const click = async () => {
      await order({ clear: {} });
      if (effect) await order({ fault: { effect } });
    };
    const properties = { type: "button", "aria-pressed": "false", data: { trouble }, on: { click } };
    return h("button", properties, words[trouble]);
  }),
);
notice(words.connecting);
watch();
