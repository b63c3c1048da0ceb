// Shared by the tests: the demo as a process, a browser, pages whose messages are collected, and the
// accessibility check. Nothing waits for a fixed time; everything waits for a condition, with a limit.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, chmod, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

import axe from "axe-core";

/** The limit of every wait in milliseconds: far more than the slowest machine needs. */
export const PATIENCE = 30_000;

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

/** Starts the whole product on free ports, in a directory of its own: { console, stage, token, viewer, freeze, thaw, stop }. */
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
    assert.equal(status, 0, "exit status of the demo");
  };
  const found = {};
  const output = [];
  const lines = createInterface({ input: child.stdout });
  const ready = new Promise((resolve) => {
    lines.on("line", (line) => {
      output.push(line);
      for (const [name, pattern] of Object.entries(PRINTED)) found[name] ??= pattern.exec(line)?.[1];
      if (Object.keys(PRINTED).every((name) => found[name])) resolve();
    });
  });
  await Promise.race([ready, ended.then(() => assert.fail(`the demo ended early:\n${output.join("\n")}`))]);
  return { ...found, stop, freeze: () => child.kill("SIGSTOP"), thaw: () => child.kill("SIGCONT") };
}

/** What the demo prints at the end of its show. */
const PRINTED = {
  stage: /^ {2}stage {4}(http\S+)/,
  console: /^ {2}console {2}(http\S+\/)#/,
  token: /^ {2}console .*token=(\w+)/,
  viewer: /the token is (\w+)/,
};

/** The browser of Debian, or the one that CHROMIUM names. */
export function startBrowser() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // Chromium has no sandbox for root, and /dev/shm of a container is often too small for it.
  const args = ["--disable-dev-shm-usage", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])];
  return chromium.launch({ executablePath, args });
}

/**
 * A page and its `complaints`: errors and warnings of the browser, failed requests, and requests to
 * another origin.
 */
export async function openPage(context, origin, { expected = [] } = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  const complain = (text) => expected.some((part) => text.includes(part)) || complaints.push(text);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      complain(`${message.type()}: ${message.text()} (${message.location().url})`);
    }
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== "data:") complaints.push(`request to ${url}`);
  });
  page.on("requestfailed", (request) => {
    // A page that is left aborts its requests.
    const reason = request.failure()?.errorText;
    if (reason !== "net::ERR_ABORTED") complain(`${request.url()}: ${reason}`);
  });
  return { page, complaints };
}

/**
 * Runs `what` on a page of its own, and fails with every complaint of the browser except those that
 * contain an `expected` text. `more` are options of the browser's context.
 */
export async function onPage({ browser, origin }, { expected, ...more }, what) {
  const context = await browser.newContext({ locale: "en-GB", ...more });
  const { page, complaints } = await openPage(context, origin, { expected });
  try {
    await what(page, context);
  } catch (error) {
    if (complaints.length) error.message += `\nComplaints of the browser:\n${complaints.join("\n")}`;
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

/** A request to the API with the session of the page; text is an import. */
export const asConsole = (page, method, path, body) =>
  page.evaluate(async ([method, path, body]) => {
    const type = typeof body === "string" ? "application/x-ndjson" : "application/json";
    const headers = { "Content-Type": type, "X-Stickymark-Console": "1" };
    const content = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
    const answer = await fetch(path, { method, headers, body: content });
    return { status: answer.status };
  }, [method, path, body]);

/** Goes to a page of the console and waits until it is loaded. */
export async function goTo(page, url, hash) {
  await page.goto(`${url}#${hash}`);
  await settled(page);
}

export async function settled(page) {
  await page.waitForFunction(() => document.querySelector("main h1") && !document.querySelector('[aria-busy="true"]'));
}

/** Fails with every violation that axe finds in the page. */
export async function accessible(page, name) {
  // evaluate() is not subject to the Content-Security-Policy of the page, which stays as it is.
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const violations = found.violations.map((one) => `${one.id}: ${one.help}\n${one.nodes.map((node) => `  ${node.target} ${node.failureSummary}`).join("\n")}`);
  assert.equal(violations.join("\n"), "", name);
}

/** Fails if the page is wider than its window. */
export async function fits(page, name) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= window, `${name} is ${wide} wide in a window of ${window}`);
}
