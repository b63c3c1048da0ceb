// The stage: members join and leave, marks vanish and return, Chat fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { onPage } from "./support.mjs";

/** The line of a member. */
export const member = (page, group, account) =>
  page.getByRole("region", { name: `Room ${group}` }).locator(`.member[data-key="${account}"]`);

/** Waits until a mark of a member has this look: set, owed, idle, stray. */
export const mark = (line, number, look) => line.locator(`.mark.${look}[data-key="${number}"]`).waitFor();

export function stageTests(shared) {
  const onStage = (what, options = {}) =>
    onPage(shared, options, async (page) => {
      await page.goto(shared.demo.stage);
      await what(page);
    });

  test("shows how a drop clears a mark and the return restores it, with its delay", () =>
    onStage(async (page) => {
      const teacher = member(page, "math-7", "teacher-li");
      await mark(teacher, 1001, "set");
      await teacher.getByRole("button", { name: "Drop teacher-li" }).click();
      await mark(teacher, 1001, "idle");
      await teacher.getByText("connection lost").waitFor();
      await teacher.getByRole("button", { name: "Come back teacher-li" }).click();
      await mark(teacher, 1001, "set");
      await teacher.getByText(/set after \d/).waitFor();
      await page.locator("#lines").getByText(/teacher-li in math-7: 1001 set after/).first().waitFor();
    }));

  test("keeps the keyboard focus while a member leaves and joins again", () =>
    onStage(async (page) => {
      const vip = member(page, "gala", "vip-1");
      await vip.getByRole("button", { name: "Leave vip-1" }).focus();
      await page.keyboard.press("Enter");
      await vip.getByRole("button", { name: "Join vip-1" }).waitFor();
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Join");
      await page.keyboard.press("Enter");
      await mark(vip, 2001, "set");
      await mark(vip, 2002, "set");
    }));

  test("lets a new member join under a rule and shows markup as text", () =>
    onStage(async (page) => {
      const room = page.getByRole("region", { name: "Room gala" });
      for (const account of ["vip-new", "<b>guest"]) {
        await room.getByLabel("Account of a new member").fill(account);
        await page.keyboard.press("Enter");
      }
      await mark(member(page, "gala", "vip-new"), 2001, "set");
      await room.locator("summary").click();
      await room.getByText("<b>guest", { exact: true }).waitFor();
    }));

  test("lets Chat fail, shows the mark that is due, and sets it when Chat works again", () =>
    onStage(async (page) => {
      const chat = page.getByRole("group", { name: "Chat" });
      await chat.getByRole("button", { name: "HTTP 502" }).click();
      await page.locator('[data-trouble="bad_gateway"][aria-pressed="true"]').waitFor();
      const mod = member(page, "math-7", "mod-ana");
      await mod.getByRole("button", { name: "Drop mod-ana" }).click();
      await mod.getByRole("button", { name: "Come back mod-ana" }).click();
      await mark(mod, 9001, "owed");
      await chat.getByRole("button", { name: "works" }).click();
      await mark(mod, 9001, "set");
    }));

  test("says why the service pauses when only an operator can fix the fault", () =>
    onStage(async (page) => {
      const chat = page.getByRole("group", { name: "Chat" });
      await chat.getByRole("button", { name: "plan expired (60020)" }).click();
      await page.locator('[data-trouble="plan_ended"][aria-pressed="true"]').waitFor();
      const mod = member(page, "math-7", "mod-ana");
      await mod.getByRole("button", { name: "Drop mod-ana" }).click();
      await mod.getByRole("button", { name: "Come back mod-ana" }).click();
      await page.getByText(/Calls to Chat are paused: .*60020.*\. How to fix it: .*\.$/).waitFor();
      await chat.getByRole("button", { name: "works" }).click();
      await mark(mod, 9001, "set");
      await page.locator("#pause").waitFor({ state: "hidden" });
    }));

  test("says in Chinese why the service pauses", () =>
    onStage(async (page) => {
      const trouble = (name) => page.locator(`[data-trouble="${name}"]`).click();
      await trouble("plan_ended");
      await page.locator('[data-trouble="plan_ended"][aria-pressed="true"]').waitFor();
      const mod = page.getByRole("region", { name: "直播群 math-7" }).locator('.member[data-key="mod-ana"]');
      await mod.getByRole("button", { name: "掉线 mod-ana" }).click();
      await mod.getByRole("button", { name: "回来 mod-ana" }).click();
      const pause = page.locator("#pause:not([hidden])");
      await pause.waitFor();
      assert.equal(await pause.textContent(), "对 IM 的调用已暂停：IM 拒绝了调用，错误码 60020（套餐已过期或未付费）。处理办法：请续费或付清套餐费用；约五分钟后调用恢复。");
      await trouble("none");
      await mark(mod, 9001, "set");
      await page.locator("#pause").waitFor({ state: "hidden" });
    }, { locale: "zh-CN" }));

  test("destroys a room and creates it again", () =>
    onStage(async (page) => {
      const room = page.getByRole("region", { name: "Room gala" });
      await room.getByRole("button", { name: "Destroy the room" }).click();
      await room.getByRole("button", { name: "Create it again" }).click();
      await room.getByRole("button", { name: "Destroy the room" }).waitFor();
      const singer = member(page, "gala", "singer-1");
      await singer.getByRole("button", { name: "Join singer-1" }).click();
      await mark(singer, 2003, "set");
    }));

  test("says what the demo rejects", () =>
    onStage(async (page) => {
      const room = page.getByRole("region", { name: "Room gala" });
      await room.getByLabel("Account of a new member").fill("名".repeat(32));
      await page.keyboard.press("Enter");
      await page.getByRole("alert").getByText(/That failed: .*account/).waitFor();
    }, { expected: ["400"] }));

  test("speaks Chinese to a Chinese browser, and English when asked to", () =>
    onStage(async (page) => {
      await page.getByRole("region", { name: "直播群 math-7" }).waitFor();
      assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
      await page.getByRole("button", { name: "English" }).click();
      await page.getByRole("region", { name: "Room math-7" }).waitFor();
    }, { locale: "zh-CN" }));
}
