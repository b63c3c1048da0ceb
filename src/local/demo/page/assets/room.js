// One room: its members, their marks as badges, and what can be done with them.

import { h } from "/console/assets/dom.js";
import { attribute, list, say } from "./dom.js";
import { address } from "./frame.js";
import { words } from "./words.js";

/** What the first button of a member does, by the member's state. */
const FIRST = { here: "drop", away: "back", gone: "join" };

/** Makes the element of a room. */
export function createRoom({ group }, orders) {
  const heading = `room-${group}`;
  const own = { orders, group, members: [] };
  const all = (state) => own.members.filter((member) => member.state === state).map((m) => m.account);
  const button = (word, click) => h("button", { type: "button", class: "quiet small", on: { click } }, words[word]);
  const parts = {
    counts: h("p", { class: "facts" }),
    drop: button("all_drop", () => orders.move("drop", group, all("here"))),
    back: button("all_back", () => orders.move("back", group, all("away"))),
    door: h("button", { type: "button", class: "quiet small" }),
    marked: h("ul", { class: "members" }),
    others: h("ul", { class: "members" }),
    summary: h("summary"),
    input: h("input", { name: "account", required: true, maxlength: "64", autocomplete: "off", spellcheck: "false", placeholder: "viewer-1", "aria-label": words.account }),
  };
  parts.door.addEventListener("click", () => (own.open ? orders.close(group) : orders.open(group)));
  parts.rest = h("details", {}, parts.summary, parts.others);
  parts.form = h("form", { class: "join", on: { submit: join } }, parts.input, h("button", { class: "quiet small" }, words.add));
  function join(event) {
    event.preventDefault();
    orders.move("join", group, [parts.input.value.trim()]);
    parts.input.value = "";
  }
  const title = h("div", { class: "title" }, h("h2", { id: heading }, words.room(group)), parts.counts);
  const tools = h("div", { class: "actions" }, parts.drop, parts.back, parts.door);
  const element = h("section", { class: "card room", "aria-labelledby": heading },
    title, tools, parts.marked, parts.rest, parts.form);
  element.room = { own, parts };
  return element;
}

/** Shows what the picture says of a room. */
export function updateRoom(element, room) {
  const { own, parts } = element.room;
  own.members = room.members;
  own.open = room.open;
  element.classList.toggle("closed", !room.open);
  const count = (state) => room.members.filter((member) => member.state === state).length;
  const [here, away] = [count("here"), count("away")];
  say(parts.counts, room.open ? words.counts(here + away, here) : words.closed);
  parts.drop.hidden = parts.back.hidden = parts.form.hidden = !room.open;
  parts.drop.disabled = here === 0;
  parts.back.disabled = away === 0;
  say(parts.door, room.open ? words.close : words.open);
  const stars = room.members.filter((member) => member.wanted.length + member.marks.length > 0);
  const others = room.members.filter((member) => member.wanted.length + member.marks.length === 0);
  showMembers(parts.marked, stars, own);
  showMembers(parts.others, others, own);
  parts.rest.hidden = others.length === 0;
  say(parts.summary, words.others(others.length));
}

function showMembers(parent, members, own) {
  list(parent, members, (member) => member.account, (member) => createMember(member, own), updateMember);
  for (const element of parent.children) {
    for (const button of element.querySelectorAll("button")) button.disabled = !own.open;
  }
}

function createMember({ account }, { orders, group }) {
  const parts = {
    state: h("span", { class: "state" }),
    marks: h("ul", { class: "marks", "aria-label": words.marks_of(account) }),
    delay: h("span"),
    why: h("a", { href: address(`explain?${new URLSearchParams({ group, account })}`), "aria-label": `${words.why} ${account}` }, words.why),
    first: h("button", { type: "button", class: "small" }),
    leave: h("button", { type: "button", class: "quiet small", "aria-label": `${words.leave} ${account}` }, words.leave),
  };
  const element = h("li", { class: "member" },
    h("span", { class: "person" }, h("span", { class: "account" }, account), " ", parts.state),
    parts.marks, h("span", { class: "after" }, parts.delay, " ", parts.why),
    h("span", { class: "does" }, parts.first, parts.leave));
  parts.first.addEventListener("click", () => orders.move(FIRST[element.dataset.state], group, [account]));
  parts.leave.addEventListener("click", () => {
    // The button is about to go; the keyboard focus stays with the member.
    parts.first.focus();
    orders.move("leave", group, [account]);
  });
  element.member = parts;
  return element;
}

function updateMember(element, member) {
  const parts = element.member;
  attribute(element, "data-state", member.state);
  say(parts.state, words[member.state]);
  say(parts.delay, member.delay === null ? "" : words.after(member.delay));
  const first = words[FIRST[member.state]];
  say(parts.first, first);
  attribute(parts.first, "aria-label", `${first} ${member.account}`);
  // What brings a member back is what one looks for.
  parts.first.classList.toggle("quiet", member.state === "here");
  parts.leave.hidden = member.state === "gone";
  const numbers = [...new Set([...member.wanted, ...member.marks])].sort((a, b) => a - b);
  const marks = numbers.map((number) => ({ number, look: look(number, member) }));
  parts.marks.hidden = marks.length === 0;
  const create = ({ number }) => h("li", { data: { hue: number % 6 } }, String(number), h("span", { class: "sr" }));
  list(parts.marks, marks, (mark) => mark.number, create, (badge, mark) => {
    attribute(badge, "class", `mark ${mark.look}`);
    say(badge.lastElementChild, ` ${words[`is_${mark.look}`]}`);
  });
}

/** How a mark looks: set, owed, idle (its member is not there) or stray (no rule demands it). */
function look(number, member) {
  if (!member.wanted.includes(number)) return "stray";
  if (member.marks.includes(number)) return "set";
  return member.state === "here" ? "owed" : "idle";
}
