// Every page, light and dark, wide and on a phone: no rule of accessibility broken, nothing wider
// than the window, nothing to complain of.

import { test } from "node:test";
import { DESKTOP, PHONE, accessible, fits, goTo, onPage, signIn } from "./support.mjs";

/** The pages of the console behind `#`. */
export const PAGES = {
  now: "/now",
  rules: "/rules",
  "rule-new": "/rules/new",
  rule: "/rules/gala-vips/edit",
  history: "/rules/gala-vips/history",
  import: "/import",
  why: "/why?group=math-7&account=teacher-li",
  rooms: "/rooms",
  members: "/members?state=all",
};

export function looks(shared) {
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      const options = { colorScheme, viewport, reducedMotion: "reduce" };
      test(`is accessible and fits: ${colorScheme}, ${width}`, () =>
        onPage(shared, options, async (page) => {
          const check = async (name) => {
            await fits(page, name);
            await accessible(page, name);
          };
          await page.goto(shared.demo.stage);
          await page.locator("fieldset:enabled .mark.set").first().waitFor();
          await page.locator("details:not([hidden]) summary").first().click();
          await check("stage");
          await page.goto(shared.demo.console);
          await page.getByLabel("Token").waitFor();
          await check("sign-in");
          await signIn(page, shared.demo.console, shared.demo.token);
          for (const [name, hash] of Object.entries(PAGES)) {
            await goTo(page, shared.demo.console, hash);
            await check(name);
          }
        }));
    }
  }
}
