// Renders every page of the console and the stage, light and dark, on a desktop and on a phone:
//
//     node screenshots.mjs DIRECTORY [en-GB | zh-CN]
//
// Files are called PAGE-SCHEME-WIDTH.png. Look at them.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { PAGES } from "./looks.mjs";
import { mark, member } from "./stage.mjs";
import { DESKTOP, PHONE, goTo, openPage, signIn, startBrowser, startDemo } from "./support.mjs";

const [directory, locale = "en-GB"] = process.argv.slice(2);
if (!directory) {
  console.error("usage: node screenshots.mjs DIRECTORY [LANGUAGE]");
  process.exit(2);
}
await mkdir(directory, { recursive: true });
const [demo, browser] = await Promise.all([startDemo(), startBrowser()]);
try {
  await prepare();
  for (const colorScheme of ["light", "dark"]) {
    for (const [width, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
      await pictures(`${colorScheme}-${width}`, { colorScheme, viewport });
    }
  }
} finally {
  await browser.close();
  await demo.stop();
}

async function openContext(more) {
  const context = await browser.newContext({ locale, reducedMotion: "reduce", ...more });
  const { page } = await openPage(context, new URL(demo.stage).origin);
  return { context, page };
}

/** Lets something be seen on the stage: people who are away, gone, and waiting for their marks. */
async function prepare() {
  const { context, page } = await openContext({ locale: "en-GB" });
  await page.goto(demo.stage);
  const press = (group, account, name) => member(page, group, account).getByRole("button", { name: `${name} ${account}` }).click();
  await press("math-7", "teacher-li", "Drop");
  await press("math-7", "teacher-li", "Come back");
  await mark(member(page, "math-7", "teacher-li"), 1001, "set");
  await page.locator('[data-trouble="bad_gateway"]').click();
  await page.locator('[data-trouble="bad_gateway"][aria-pressed="true"]').waitFor();
  for (const account of ["mod-ana", "mod-ben"]) await press("gala", account, "Drop");
  await press("gala", "mod-ben", "Come back");
  await press("gala", "singer-2", "Leave");
  await mark(member(page, "gala", "mod-ben"), 9001, "owed");
  await context.close();
}

async function pictures(name, more) {
  const { context, page } = await openContext(more);
  const take = (what) => page.screenshot({ path: join(directory, `${what}-${name}.png`) });
  await page.goto(demo.stage);
  await page.locator("fieldset:enabled .mark.set").first().waitFor();
  await take("stage");
  await page.goto(demo.console);
  await page.locator("input[name=token]").waitFor();
  await take("sign-in");
  await signIn(page, demo.console, demo.token);
  for (const [what, hash] of Object.entries(PAGES)) {
    await goTo(page, demo.console, hash);
    await take(what);
  }
  await context.close();
}
