// The frame that the stage shares with the console: its tabs, with the stage beside them.

import { h, show } from "/console/assets/dom.js";
import { choose, language, locale, t } from "/console/assets/i18n.js";
import { icon } from "/console/assets/parts/icon.js";
import { words } from "./words.js";

const TABS = ["overview", "rules", "import", "explain", "rooms", "members"];

/** The address of a page of the console. */
export const address = (place) => `${location.origin}/#/${place}`;

/** Puts the frame and the fixed words into the page. */
export function frame() {
  document.documentElement.lang = locale();
  document.title = `${words.stage} · Stickymark`;
  // Whole addresses: what begins with "/#" is taken for a place on this very page.
  const tab = (name) => h("a", { href: address(name) }, icon(name), h("span", {}, t(`nav.${name}`)));
  const here = h("a", { href: "/stage", "aria-current": "page" }, icon("stage"), h("span", {}, words.stage));
  show(document.getElementById("top"),
    h("a", { class: "brand", href: address("overview") }, icon("brand"), "Stickymark"),
    h("nav", { "aria-label": t("nav.label") }, TABS.map(tab), here),
    h("div", { class: "corner" }, languages()));
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = words[element.dataset.word];
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words[element.dataset.label]);
  }
}

function languages() {
  const next = language() === "zh" ? "en" : "zh";
  const turn = () => {
    choose(next);
    location.reload();
  };
  return h("button", { type: "button", class: "quiet", lang: next, on: { click: turn } }, next === "zh" ? "中文" : "English");
}
