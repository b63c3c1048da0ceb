// Renders every page of the console and the stage, and the states that matter, to look at:
//
//     node screenshots.mjs DIRECTORY [en-GB | zh-CN] [light | dark] [desktop | tablet | phone]
//
// Files are called NAME-SCHEME-WIDTH.png; without a scheme or a width, all are rendered.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PAGES } from "./looks.mjs";
import { mark, member } from "./stage.mjs";
import { DESKTOP, PHONE, asConsole, goTo, openPage, signIn, startBrowser, startDemo } from "./support.mjs";

const WIDTHS = { desktop: DESKTOP, tablet: { width: 820, height: 1180 }, phone: PHONE };

const [directory, locale = "en-GB", ...only] = process.argv.slice(2);
if (!directory) {
  console.error("usage: node screenshots.mjs DIRECTORY [LANGUAGE] [SCHEME] [WIDTH]");
  process.exit(2);
}
await mkdir(directory, { recursive: true });
const [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
const wanted = (names) => (names.some((name) => only.includes(name)) ? names.filter((name) => only.includes(name)) : names);
const looks = wanted(["light", "dark"]).flatMap((colorScheme) => wanted(Object.keys(WIDTHS)).map((width) => [
  `${colorScheme}-${width}`, { colorScheme, viewport: WIDTHS[width] }]));
const stage = await openContext({ locale: "en-GB" });
try {
  for (const [name, options] of looks) await calm(name, options);
  await fault();
  for (const [name, options] of looks) await failing(name, options);
  await pause();
  for (const [name, options] of looks) await paused(name, options);
  await trouble("none");
  for (const [name, options] of looks) await lost(name, options);
} finally {
  await browser.close();
  await demo.stop();
}

async function openContext(more) {
  const context = await browser.newContext({ locale, reducedMotion: "reduce", ...more });
  const { page } = await openPage(context, new URL(demo.stage).origin);
  return { context, page };
}

async function press(group, account, name) {
  await member(stage.page, group, account).getByRole("button", { name: `${name} ${account}` }).click();
}

async function trouble(name) {
  await stage.page.locator(`[data-trouble="${name}"]`).click();
  await stage.page.locator(`[data-trouble="${name}"][aria-pressed="true"]`).waitFor();
}

/** Chat fails, and members wait for their marks. */
async function fault() {
  await stage.page.goto(demo.stage);
  await press("math-7", "teacher-li", "Drop");
  await press("math-7", "teacher-li", "Come back");
  await mark(member(stage.page, "math-7", "teacher-li"), 1001, "set");
  await trouble("bad_gateway");
  for (const account of ["mod-ana", "mod-ben"]) await press("gala", account, "Drop");
  await press("gala", "mod-ben", "Come back");
  await press("gala", "singer-2", "Leave");
  await mark(member(stage.page, "gala", "mod-ben"), 9001, "owed");
}

async function pause() {
  await trouble("plan_ended");
  await press("gala", "mod-ana", "Come back");
  await stage.page.locator("#pause:not([hidden])").waitFor();
}

/** Opens the console; `take` makes a picture of the whole page. */
async function onConsole(name, options, what) {
  const { context, page } = await openContext(options);
  const take = (picture) => page.screenshot({ path: join(directory, `${picture}-${name}.png`), fullPage: true });
  await what(page, take);
  await context.close();
}

async function calm(name, options) {
  await onConsole(name, options, async (page, take) => {
    await page.goto(demo.stage);
    await page.locator("fieldset:enabled .mark.set").first().waitFor();
    await take("stage");
    await page.goto(demo.console);
    await page.locator("input[name=token]").waitFor();
    await take("sign-in");
    await page.locator("input[name=token]").fill("wrong");
    await page.locator("main form button[type=submit]").click();
    await page.locator("[aria-invalid=true]").waitFor();
    await take("sign-in-wrong");
    await signIn(page, demo.console, demo.token);
    await page.locator(".tile .figure").filter({ hasText: /\d/ }).first().waitFor();
    for (const [picture, hash] of Object.entries(PAGES)) {
      await goTo(page, demo.console, hash);
      if (picture === "overview") await page.locator(".states").waitFor();
      await take(picture);
    }
    for (const [picture, hash] of Object.entries({
      "rules-empty": "/rules?q=nothing-like-this", "members-empty": "/members?group=nowhere", "rooms-empty": "/rooms?group=nowhere",
      "explain-empty": "/explain", "explain-unknown": "/explain?group=nowhere&account=nobody", "not-found": "/nowhere",
    })) {
      await goTo(page, demo.console, hash);
      await take(picture);
    }
    await goTo(page, demo.console, "/rules/new");
    await page.locator("[name=group]").fill("a*b");
    await page.locator("[name=marks]").fill("7, 500, 1001");
    await page.locator("main form button[type=submit]").click();
    await page.locator("[aria-invalid=true]").first().waitFor();
    await take("rule-errors");
    await goTo(page, demo.console, "/import");
    await page.locator("textarea").fill('{"id":"class-7-teacher","group":"class-7","account":"teacher10","marks":[1000]}\n{"id":"gala-vips","group":"gala","account":"vip-*","marks":[2001]}');
    await page.locator("main form button[type=submit]").click();
    await page.locator("main .diff").first().waitFor();
    await take("import-preview");
    await page.locator("textarea").fill("[1]\n{\"id\":\"x\"}");
    await page.locator("main form button[type=submit]").click();
    await page.locator("main .lines").first().waitFor();
    await take("import-errors");
    await goTo(page, demo.console, "/rules");
    await page.locator("tbody .harsh").first().click();
    await page.locator("dialog").waitFor();
    await take("rule-delete");
    await page.keyboard.press("Escape");
    await page.locator(".selection input").check();
    await take("rules-selected");
  });
}

async function failing(name, options) {
  await onConsole(name, options, async (page, take) => {
    await page.goto(demo.stage);
    await page.locator(".mark.owed").first().waitFor();
    await take("failing-stage");
    await signIn(page, demo.console, demo.token);
    await page.locator(".states .bad, .states .warn").first().waitFor();
    await take("failing-overview");
    for (const [picture, hash] of Object.entries({
      "failing-members": "/members", "failing-rooms": "/rooms", "failing-explain": "/explain?group=gala&account=mod-ben",
    })) {
      await goTo(page, demo.console, hash);
      await take(picture);
    }
    // To fail takes a member half an hour, so the answer says it of two.
    await page.route("**/v1/members?*", async (route) => {
      const answer = await (await route.fetch()).json();
      const detail = "Chat refused the call with 10004 (a parameter is illegal or not supported for this type of group): no";
      const message = { code: "chat-refused", params: { chat_code: 10004, meaning: "a parameter is illegal or not supported for this type of group", info: "no" }, detail };
      const failed = answer.items.slice(0, 2).map((one) => ({ ...one, state: "failed", failed_at: one.heard_at, last_error: detail, message }));
      await route.fulfill({ json: { ...answer, items: [...failed, ...answer.items.slice(2)], counts: { ...answer.counts, failed: 2 } } });
    });
    await goTo(page, demo.console, "/members?account=");
    await take("failed-members");
  });
}

async function paused(name, options) {
  await onConsole(name, options, async (page, take) => {
    await page.goto(demo.stage);
    await page.locator("#pause:not([hidden])").waitFor();
    await take("paused-stage");
    await signIn(page, demo.console, demo.viewer);
    await page.locator(".banner").waitFor();
    await take("paused-overview-viewer");
    await goTo(page, demo.console, "/explain?group=gala&account=mod-ana");
    await take("paused-explain-viewer");
    await goTo(page, demo.console, "/rules/gala-vips/edit");
    await take("rule-viewer");
  });
}

async function lost(name, options) {
  await onConsole(name, options, async (page, take) => {
    await signIn(page, demo.console, demo.token);
    await page.locator(".states").waitFor();
    await page.locator(".tile .figure").filter({ hasText: /\d/ }).first().waitFor();
    demo.freeze();
    await page.locator(".lost").waitFor();
    await take("lost-overview");
    demo.thaw();
  });
}
