// What the tests share: the demo as a process, a browser, pages that are watched, and the check for
// accessibility. Nothing here waits for a time; everything waits for what shall come, with a limit.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, chmod, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

import axe from "axe-core";

/** Milliseconds after which something did not come: far more than the slowest machine needs. */
export const PATIENCE = 30_000;

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

/** The whole product on free ports, in a directory of its own: { admin, stage, token, viewer, stop }. */
export async function startDemo() {
  const built = new URL("../../target/debug/stickymark", import.meta.url);
  const program = process.env.STICKYMARK ?? fileURLToPath(built);
  const place = await mkdtemp(join(tmpdir(), "stickymark-browser-"));
  // As root, PostgreSQL runs as another user.
  await chmod(place, 0o755);
  const child = spawn(program, ["demo"], { cwd: place, stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));
  const stop = async () => {
    child.kill("SIGINT");
    const last = setTimeout(kill, 20_000);
    const status = await ended;
    clearTimeout(last);
    process.off("exit", kill);
    await rm(place, { recursive: true, force: true });
    assert.equal(status, 0, "the demo ended in good order");
  };
  const found = {};
  const told = [];
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise((resolve) => {
    lines.on("line", (line) => {
      told.push(line);
      for (const [name, pattern] of Object.entries(TOLD)) found[name] ??= pattern.exec(line)?.[1];
      if (Object.keys(TOLD).every((name) => found[name])) resolve();
    });
  });
  await Promise.race([ready, ended.then(() => assert.fail(`the demo ended early:\n${told.join("\n")}`))]);
  return { ...found, stop };
}

/** Where the demo tells what, once the show is over. */
const TOLD = {
  stage: /^ {2}stage {4}(http\S+)/,
  console: /^ {2}console {2}(http\S+)/,
  token: /^ {2}console .* sign in with (\w+)/,
  viewer: /only look with (\w+)/,
};

/** Debian's browser, or the one that CHROMIUM names. */
export function startBrowser() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // Root has no sandbox; a container often has no room in /dev/shm.
  const args = ["--disable-dev-shm-usage", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])];
  return chromium.launch({ executablePath, args });
}

/**
 * A page that is watched: `complaints` holds what the browser complained of, and every request that
 * left the origin.
 */
export async function openPage(context, origin, { expected = [] } = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    const text = message.text();
    if (["error", "warning"].includes(message.type()) && !expected.some((part) => text.includes(part))) {
      complaints.push(`${message.type()}: ${text} (${message.location().url})`);
    }
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== "data:") complaints.push(`request to ${url}`);
  });
  page.on("requestfailed", (request) => {
    // Leaving a page ends what it still waits for.
    const reason = request.failure()?.errorText;
    if (reason !== "net::ERR_ABORTED") complaints.push(`${request.url()}: ${reason}`);
  });
  return { page, complaints };
}

/**
 * Does something on a page of its own, and fails if the browser complained of anything but what is
 * `expected`. `more` are options of the browser's context.
 */
export async function onPage({ browser, origin }, { expected, ...more }, what) {
  const context = await browser.newContext({ locale: "en-GB", ...more });
  const { page, complaints } = await openPage(context, origin, { expected });
  try {
    await what(page, context);
  } catch (error) {
    if (complaints.length) error.message += `\nThe browser complained:\n${complaints.join("\n")}`;
    throw error;
  } finally {
    await context.close();
  }
  assert.deepEqual(complaints, []);
}

/** Signs in on the console's page. */
export async function signIn(page, url, token) {
  await page.goto(url);
  await page.locator("input[name=token]").fill(token);
  await page.locator("main form button[type=submit]").click();
  await page.locator("header nav").waitFor();
}

/** Goes to a page of the console and waits until it has what it loads. */
export async function goTo(page, url, hash) {
  await page.goto(`${url}#${hash}`);
  await settled(page);
}

export async function settled(page) {
  await page.waitForFunction(() => document.querySelector("main h1") && !document.querySelector('[aria-busy="true"]'));
}

/** Fails with every rule of axe that the page breaks. */
export async function accessible(page, name) {
  // Through the debugger, so that the page's own policy stays in force.
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map((one) => `${one.id}: ${one.help}\n${one.nodes.map((node) => `  ${node.target} ${node.failureSummary}`).join("\n")}`);
  assert.equal(told.join("\n"), "", name);
}

/** Fails if the page is wider than its window. */
export async function fits(page, name) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= window, `${name} is ${wide} wide in a window of ${window}`);
}
