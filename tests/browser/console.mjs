// The console: signing in, rules that act at once, the reason for a mark, imports, and viewers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { mark, member } from "./stage.mjs";
import { goTo, onPage, openPage, settled, signIn } from "./support.mjs";

export function consoleTests(shared) {
  const inConsole = (token, what, expected) =>
    onPage(shared, { expected }, async (page, context) => {
      await signIn(page, shared.demo.console, token);
      await what(page, context);
    });
  const asEditor = (what, expected) => inConsole(shared.demo.token, what, expected);

  test("asks for a token, refuses a wrong one, and forgets it at the end", () =>
    // The browser itself reports the refusal.
    onPage(shared, { expected: ["401"] }, async (page) => {
      await page.goto(shared.demo.console);
      await page.getByLabel("Token").fill("wrong");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("This token is not known.").waitFor();
      await page.getByLabel("Token").fill(shared.demo.token);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("navigation").waitFor();
      const kept = await page.evaluate(() => [document.cookie, ...Object.values(localStorage)].join());
      assert.ok(!kept.includes(shared.demo.token) && !kept.includes("stickymark="), kept);
      await page.reload();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByLabel("Token").waitFor();
    }));

  test("a rule written here marks a member of the demo, who loses the mark and gets it back", () =>
    asEditor(async (page, context) => {
      await goTo(page, shared.demo.console, "/rules/new");
      await page.getByLabel("Id", { exact: true }).fill("one-pupil");
      await page.getByLabel("Room", { exact: true }).fill("math-7");
      await page.getByLabel("Account", { exact: true }).fill("pupil-01");
      await page.getByLabel("Marks", { exact: true }).fill("1003");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("Made one-pupil.").waitFor();

      const { page: stage, complaints } = await openPage(context, shared.origin);
      await stage.goto(shared.demo.stage);
      const pupil = member(stage, "math-7", "pupil-01");
      await mark(pupil, 1003, "set");
      await pupil.getByRole("button", { name: "Drop pupil-01" }).click();
      await mark(pupil, 1003, "idle");
      await pupil.getByRole("button", { name: "Come back pupil-01" }).click();
      await mark(pupil, 1003, "set");
      assert.deepEqual(complaints, []);

      await pupil.getByRole("link", { name: "Why? pupil-01" }).click();
      await stage.getByRole("link", { name: "one-pupil" }).waitFor();
      await stage.locator(".verdict.good").waitFor();
    }));

  test("shows each restored mark as it happens, and leads to the stage", () =>
    asEditor(async (page, context) => {
      await goTo(page, shared.demo.console, "/now");
      // The pictures come once the figures are no dashes any more.
      await page.locator(".tile .figure").filter({ hasText: /\d/ }).first().waitFor();
      const { page: stage, complaints } = await openPage(context, shared.origin);
      await stage.goto(shared.demo.stage);
      const teacher = member(stage, "math-7", "teacher-li");
      await teacher.getByRole("button", { name: "Drop teacher-li" }).click();
      await teacher.getByRole("button", { name: "Come back teacher-li" }).click();
      await mark(teacher, 1001, "set");
      await page.locator(".latest li").filter({ hasText: "teacher-li" }).first().waitFor();
      await page.getByRole("link", { name: "Stage" }).click();
      await page.getByRole("heading", { name: "The stage" }).waitFor();
      assert.deepEqual(complaints, []);
    }));

  test("shows what is wrong beside the field", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/rules/new");
      await page.getByLabel("Room", { exact: true }).fill("a*b");
      await page.getByLabel("Account", { exact: true }).fill("*");
      await page.getByLabel("Marks", { exact: true }).fill("7");
      await page.getByRole("button", { name: "Save" }).click();
      const wrong = page.locator('[aria-invalid="true"]');
      await wrong.first().waitFor();
      const names = await wrong.evaluateAll((inputs) => inputs.map((input) => input.name));
      assert.deepEqual(names, ["group", "marks"]);
      for (const input of await wrong.all()) {
        const hint = (await input.getAttribute("aria-describedby")).split(" ").at(-1);
        assert.notEqual(await page.locator(`#${hint}`).textContent(), "");
      }
    }, ["422"]));

  test("edits, disables and deletes a rule, and keeps its history", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/rules/one-pupil/edit");
      await page.getByLabel("Marks", { exact: true }).fill("1003, 1004");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("Saved one-pupil.").waitFor();
      await goTo(page, shared.demo.console, "/rules?account=pupil-01");
      const row = page.getByRole("row").filter({ hasText: "one-pupil" });
      await row.getByRole("button", { name: /^Disable/ }).click();
      await page.getByText("Disabled one-pupil.").waitFor();
      await row.getByRole("button", { name: /^Delete/ }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByRole("button", { name: "Delete" }).click();
      await page.getByText("Deleted one-pupil.").waitFor();
      await goTo(page, shared.demo.console, "/rules/one-pupil/history");
      const actions = await page.locator(".timeline .action").allTextContents();
      assert.deepEqual(actions.map((text) => text.replace(/^\W/u, "")), ["removed", "changed", "changed", "made"]);
    }));

  test("shows what an import would change before it is applied", () =>
    asEditor(async (page) => {
      const rules = [
        { id: "imported-1", group: "math-7", account: "pupil-02", marks: [1005], label: "imported" },
        { id: "imported-2", group: "math-7", account: "pupil-03", marks: [1006], label: "imported" },
      ];
      const load = async (some) => {
        await page.getByLabel("Or paste it").fill(some.map((rule) => JSON.stringify(rule)).join("\n"));
        await page.getByRole("button", { name: "Show what would change" }).click();
        await page.getByRole("heading", { name: "This would change" }).waitFor();
      };
      await goTo(page, shared.demo.console, "/import");
      await load(rules);
      await page.getByText("2 made, 0 changed, 0 removed").waitFor();
      await page.getByRole("button", { name: "Apply 2 changes" }).click();
      await page.getByRole("link", { name: "Look at the rules" }).waitFor();

      await goTo(page, shared.demo.console, "/rules?label=imported");
      await page.getByRole("link", { name: "imported-2", exact: true }).waitFor();
      await goTo(page, shared.demo.console, "/import");
      await load([{ ...rules[0], marks: [1007] }]);
      await page.getByText("0 made, 1 changed, 0 removed").waitFor();
      const change = page.locator(".timeline li").filter({ hasText: "imported-1" });
      assert.match(await change.locator("del").textContent(), /1005/);
      assert.match(await change.locator("ins").textContent(), /1007/);
    }));

  test("names the lines of an import that are wrong and imports nothing", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/import");
      await page.getByLabel("Or paste it").fill('{"id":"good","group":"g","account":"a","marks":[1000]}\n{"id":"bad","group":"g","account":"a","marks":[7]}');
      await page.getByRole("button", { name: "Show what would change" }).click();
      await page.getByText("Line 2").waitFor();
    }, ["422"]));

  test("compares a room with Chat when asked", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/rooms");
      await page.getByRole("button", { name: "Compare with Chat now: math-7" }).click();
      await page.getByText("math-7 is compared with Chat next.").waitFor();
    }));

  test("lists members by state", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/members?state=applied&group=math-7");
      await page.getByRole("link", { name: "teacher-li", exact: true }).waitFor();
    }));

  test("refuses a viewer's writes and says so", () =>
    inConsole(shared.demo.viewer, async (page) => {
      await goTo(page, shared.demo.console, "/rules");
      await page.getByText("You are signed in as a viewer.").waitFor();
      const disable = page.getByRole("button", { name: /^Disable/ }).first();
      assert.equal(await disable.getAttribute("aria-disabled"), "true");
      await goTo(page, shared.demo.console, "/import");
      await page.getByText("You are signed in as a viewer.").waitFor();
      // Past the page, as somebody with a console of his own would.
      const status = await page.evaluate(async () => {
        const headers = { "Content-Type": "application/json", "X-Stickymark-Console": "1" };
        const body = JSON.stringify({ group: "g", account: "a", marks: [1000] });
        return (await fetch("/v1/rules", { method: "POST", headers, body })).status;
      });
      assert.equal(status, 403);
      await settled(page);
    }, ["403"]));
}
