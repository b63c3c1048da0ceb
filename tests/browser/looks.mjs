// Every page, light and dark, on a desktop and on a phone: no accessibility violation, nothing wider
// than the window, no message of the browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DESKTOP, PHONE, accessible, asConsole, fits, goTo, onPage, signIn } from "./support.mjs";

/** The pages of the console behind `#`. */
export const PAGES = {
  overview: "/overview",
  rules: "/rules",
  "rule-new": "/rules/new",
  rule: "/rules/gala-vips/edit",
  history: "/rules/gala-vips/history",
  import: "/import",
  explain: "/explain?group=math-7&account=teacher-li",
  rooms: "/rooms",
  members: "/members",
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

  test("fits between 360 and 1920 pixels, with ids of the greatest length", () =>
    onPage(shared, { reducedMotion: "reduce" }, async (page) => {
      await signIn(page, shared.demo.console, shared.demo.token);
      const rule = { group: `@TGS#${"g".repeat(43)}`, account: "a".repeat(32), label: "l".repeat(32), note: "n".repeat(64) };
      await asConsole(page, "PUT", `/v1/rules/${"i".repeat(64)}`, { ...rule, marks: [4294967290, 4294967291, 4294967292, 4294967293] });
      const pages = { ...PAGES, "rooms of all states": "/rooms?state=any", "the long room": `/explain?group=${encodeURIComponent(rule.group)}&account=${rule.account}` };
      for (const [name, hash] of Object.entries(pages)) {
        await goTo(page, shared.demo.console, hash);
        for (const width of [360, 480, 700, 768, 900, 1024, 1180, 1240, 1280, 1440, 1920]) {
          await page.setViewportSize({ width, height: 800 });
          await fits(page, `${name} at ${width}`);
          const cut = await page.locator(".table, nav").evaluateAll((boxes) => boxes.filter((box) => box.scrollWidth > box.clientWidth).length);
          assert.equal(cut, 0, `${name} at ${width} scrolls to the side`);
        }
      }
      await asConsole(page, "DELETE", `/v1/rules/${"i".repeat(64)}`);
    }));

  test("speaks Chinese throughout to a Chinese browser, and calls the product IM", () =>
    onPage(shared, { locale: "zh-CN" }, async (page) => {
      await signIn(page, shared.demo.console, shared.demo.token);
      // Without the sign that something needs attention, which a slow machine may show.
      const words = await page.locator("header nav a").allTextContents();
      const tabs = words.map((text) => text.replace("需要处理", ""));
      assert.deepEqual(tabs, ["概览", "规则", "导入", "标记诊断", "直播群", "成员", "演示台"]);
      for (const [name, hash] of Object.entries(PAGES)) {
        await goTo(page, shared.demo.console, hash);
        const text = await page.locator("body").innerText();
        assert.match(text, /[\u4e00-\u9fff]/, name);
        assert.doesNotMatch(text, /\bChat\b/, name);
      }
    }));
}
