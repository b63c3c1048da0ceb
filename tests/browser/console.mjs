// The console: signing in, rules that act at once, unsaved input, explanations, imports, lists, and viewers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { mark, member } from "./stage.mjs";
import { accessible, asConsole, goTo, onPage, openPage, settled, signIn } from "./support.mjs";

export function consoleTests(shared) {
  const inConsole = (token, what, options = {}) =>
    onPage(shared, options, async (page, context) => {
      await signIn(page, shared.demo.console, token);
      await what(page, context);
    });
  const asEditor = (what, options) => inConsole(shared.demo.token, what, options);

  test("asks for a token, rejects a wrong one, and forgets it after signing out", () =>
    // The browser itself reports the rejection.
    onPage(shared, { expected: ["401"] }, async (page) => {
      await page.goto(shared.demo.console);
      await page.getByLabel("Token").fill("wrong");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("Invalid token.").waitFor();
      await page.getByLabel("Token").fill(shared.demo.token);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("navigation").waitFor();
      const kept = await page.evaluate(() => [document.cookie, ...Object.values(localStorage)].join());
      assert.ok(!kept.includes(shared.demo.token) && !kept.includes("stickymark="), kept);
      await page.reload();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByLabel("Token").waitFor();
    }));

  test("the link that the demo prints signs in, and the token does not stay in the address", () =>
    onPage(shared, {}, async (page) => {
      await page.goto(`${shared.demo.console}#/rooms?token=${shared.demo.token}`);
      await page.getByRole("heading", { name: "Rooms" }).waitFor();
      assert.equal(new URL(page.url()).hash, "#/rooms");
    }));

  test("a rule written here marks a member of the demo, and the mark returns after a drop", () =>
    asEditor(async (page, context) => {
      await goTo(page, shared.demo.console, "/rules/new");
      await page.getByLabel("ID", { exact: true }).fill("one-pupil");
      await page.getByLabel("Room", { exact: true }).fill("math-7");
      await page.getByLabel("Account", { exact: true }).fill("pupil-01");
      await page.getByLabel("Marks", { exact: true }).fill("1003");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("Created one-pupil.").waitFor();

      const { page: stage, complaints } = await openPage(context, shared.origin);
      await stage.goto(shared.demo.stage);
      const pupil = member(stage, "math-7", "pupil-01");
      await mark(pupil, 1003, "set");
      await pupil.getByRole("button", { name: "Drop pupil-01" }).click();
      await mark(pupil, 1003, "idle");
      await pupil.getByRole("button", { name: "Come back pupil-01" }).click();
      await mark(pupil, 1003, "set");
      assert.deepEqual(complaints, []);

      await pupil.getByRole("link", { name: "Explain pupil-01" }).click();
      await stage.getByRole("link", { name: "one-pupil" }).waitFor();
      await stage.locator(".verdict.good").waitFor();
    }));

  test("shows each restored mark as it happens, and links to the stage", () =>
    asEditor(async (page, context) => {
      await goTo(page, shared.demo.console, "/overview");
      // The first answer has arrived once a figure has a digit.
      await page.locator(".tile .figure").filter({ hasText: /\d/ }).first().waitFor();
      const { page: stage, complaints } = await openPage(context, shared.origin);
      await stage.goto(shared.demo.stage);
      const teacher = member(stage, "math-7", "teacher-li");
      await teacher.getByRole("button", { name: "Drop teacher-li" }).click();
      await teacher.getByRole("button", { name: "Come back teacher-li" }).click();
      await mark(teacher, 1001, "set");
      await page.locator(".latest li").filter({ hasText: "teacher-li" }).first().waitFor();
      // A page that is opened later shows it too.
      await page.reload();
      await page.locator(".latest li").filter({ hasText: "teacher-li" }).first().waitFor();
      assert.ok(await page.locator(".latest li").count() <= 12);
      await page.getByRole("link", { name: "Stage" }).click();
      await page.getByRole("heading", { name: "The stage" }).waitFor();
      assert.deepEqual(complaints, []);
    }));

  test("shows an error beside its field until the field changes", () =>
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
      await page.getByLabel("Marks", { exact: true }).fill("1000");
      assert.deepEqual(await wrong.evaluateAll((inputs) => inputs.map((input) => input.name)), ["group"]);
      await page.getByRole("button", { name: "Cancel" }).click();
    }, { expected: ["422"] }));

  test("says which rule is the same as a new one, and copies ids", () =>
    asEditor(async (page, context) => {
      await context.grantPermissions(["clipboard-read", "clipboard-write"]);
      const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
      await goTo(page, shared.demo.console, "/rules/new");
      await page.getByLabel("Room", { exact: true }).fill("math-7");
      await page.getByLabel("Account", { exact: true }).fill("pupil-01");
      await page.getByLabel("Marks", { exact: true }).fill("1003");
      await page.getByRole("button", { name: "Save" }).click();
      await page.getByText("The enabled rule one-pupil has the same room, account and marks.").waitFor();
      await asConsole(page, "DELETE", "/v1/rules/math-7-pupil-01");
      await goTo(page, shared.demo.console, "/rules/one-pupil/edit");
      await page.getByRole("button", { name: "Copy one-pupil" }).click();
      await page.getByText("Copied one-pupil.").waitFor();
      assert.equal(await clipboard(), "one-pupil");
      await goTo(page, shared.demo.console, "/explain?group=math-7&account=teacher-li");
      const id = await page.locator(".verdict code").textContent();
      await page.locator(".verdict .copy").click();
      await page.getByText(`Copied ${id}.`).waitFor();
      assert.equal(await clipboard(), id);
    }));

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
      // The list was built again; the focus is on the same button.
      await row.getByRole("button", { name: /^Enable/ }).and(page.locator(":focus")).waitFor();
      await page.getByRole("button", { name: "Dismiss" }).click();
      await page.getByText("Disabled one-pupil.").waitFor({ state: "hidden" });
      await row.getByRole("button", { name: /^Delete/ }).click();
      const dialog = page.getByRole("dialog");
      assert.deepEqual(await dialog.getByRole("button").allTextContents(), ["Cancel", "Delete"]);
      await dialog.getByRole("button", { name: "Delete" }).click();
      await page.getByText("Deleted one-pupil.").waitFor();
      await goTo(page, shared.demo.console, "/rules/one-pupil/history");
      const actions = await page.locator(".timeline .action").allTextContents();
      assert.deepEqual(actions.map((text) => text.replace(/^\W/u, "")), ["deleted", "updated", "updated", "created"]);
    }));

  test("previews an import before it is applied", () =>
    asEditor(async (page) => {
      const rules = [
        { id: "imported-1", group: "math-7", account: "pupil-02", marks: [1005], label: "imported" },
        { id: "imported-2", group: "math-7", account: "pupil-03", marks: [1006], label: "imported" },
      ];
      const load = async (some) => {
        await page.getByLabel("Or paste").fill(some.map((rule) => JSON.stringify(rule)).join("\n"));
        await page.getByRole("button", { name: "Preview changes" }).click();
        await page.getByRole("heading", { name: "Preview" }).waitFor();
      };
      await goTo(page, shared.demo.console, "/import");
      await load(rules);
      await page.getByText("2 created, 0 updated, 0 deleted").waitFor();
      await page.getByRole("button", { name: "Apply 2 changes" }).click();
      await page.getByRole("link", { name: "View rules" }).waitFor();

      await goTo(page, shared.demo.console, "/rules?label=imported");
      await page.getByRole("link", { name: "imported-2", exact: true }).waitFor();
      await goTo(page, shared.demo.console, "/import");
      await load([{ ...rules[0], marks: [1007] }]);
      await page.getByText("0 created, 1 updated, 0 deleted").waitFor();
      const change = page.locator(".timeline li").filter({ hasText: "imported-1" });
      assert.match(await change.locator("del").textContent(), /1005/);
      assert.match(await change.locator("ins").textContent(), /1007/);
    }));

  test("names the invalid lines of an import and imports nothing", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/import");
      await page.getByRole("button", { name: "Preview changes" }).click();
      await page.getByText("Choose a file or paste rules.").waitFor();
      await page.getByLabel("Or paste").fill('{"id":"good","group":"g","account":"a","marks":[1000]}\n{"id":"bad","group":"g","account":"a","marks":[7]}');
      await page.getByRole("button", { name: "Preview changes" }).click();
      await page.getByText("Line 2").waitFor();
    }, { expected: ["422"] }));

  test("compares a room with Chat when asked", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/rooms");
      await page.getByRole("button", { name: "Compare with Chat now: math-7" }).click();
      await page.getByText("Comparison of math-7 requested.").waitFor();
    }));

  test("lists all members unless asked for a state, failed ones first", () =>
    asEditor(async (page) => {
      const names = () => page.locator("tbody th").allTextContents();
      await goTo(page, shared.demo.console, "/members");
      const all = await names();
      assert.ok(all.length > 10 && all.includes("teacher-li"), all.join());
      // To fail takes a member of the demo half an hour, so the answer says it of the last one.
      const last = (await (await page.request.get(`${shared.demo.console}v1/members`)).json()).items.at(-1);
      const detail = "Chat refused the call with 10004 (a parameter is illegal or not supported for this type of group): no";
      const message = { code: "chat-refused", params: { chat_code: 10004, meaning: "a parameter is illegal", info: "no" }, detail };
      const items = [{ ...last, state: "failed", last_error: detail, message }];
      await page.route("**/v1/members?*state=failed*", (route) => route.fulfill({ json: { items, counts: { pending: 0, applied: 12, offline: 3, failed: 1 }, next: null } }));
      await goTo(page, shared.demo.console, "/members?state=applied&group=math-7");
      assert.ok((await names()).includes("teacher-li"));
      await page.getByRole("button", { name: "Clear" }).click();
      await page.locator("tbody tr").first().getByText("failed").waitFor();
      assert.deepEqual((await names()).toSorted(), all.toSorted());
      assert.equal((await names())[0], last.account);
    }));

  test("shows relative times, and the exact local time on hover", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/rooms");
      const time = page.getByRole("row").filter({ hasText: "math-7" }).locator("time").first();
      assert.match(await time.textContent(), /ago|now/);
      assert.match(await time.getAttribute("title"), /\d\d:\d\d:\d\d CET$/);
    }, { timezoneId: "Europe/Berlin" }));

  test("moves view and focus to the top of the next page", () =>
    asEditor(async (page) => {
      const lines = Array.from({ length: 60 }, (_, n) => JSON.stringify({ id: `many-${n}`, group: "nowhere", account: `a${n}`, marks: [1000], label: "many" }));
      await asConsole(page, "POST", "/v1/rules/import", lines.join("\n"));
      await goTo(page, shared.demo.console, "/rules?label=many");
      await page.getByText("50 rules on this page, 60 in total").waitFor();
      await page.getByRole("link", { name: "Next page" }).click();
      await page.locator("section:focus").getByText("10 rules").waitFor();
      const top = await page.locator("caption").evaluate((caption) => caption.getBoundingClientRect().top);
      assert.ok(top >= 0 && top < 400, `${top}`);
      await page.getByRole("link", { name: "Previous page" }).click();
      await page.locator("section:focus").getByText("50 rules").waitFor();
      await asConsole(page, "POST", "/v1/rules/import?mode=replace&label=many&max_removals=60", "");
    }));

  test("finds rules as one types, by what they cover, and in the order of their changes", () =>
    asEditor(async (page) => {
      const names = () => page.locator("tbody th a").allTextContents();
      await asConsole(page, "PUT", "/v1/rules/zz-last", { group: "gala-2", account: "vip-77", marks: [1000], label: "found" });
      await goTo(page, shared.demo.console, "/rules");
      await page.getByLabel("Search", { exact: true }).pressSequentially("vip-7");
      await page.getByText("1 rule on this page, 1 in total").waitFor();
      assert.deepEqual(await names(), ["zz-last"]);
      assert.match(page.url(), /q=vip-7/);
      const exported = await page.getByRole("link", { name: "Export matching rules" }).getAttribute("href");
      const lines = await (await page.request.get(new URL(exported, page.url()).href)).text();
      assert.deepEqual(lines.trim().split("\n").map((line) => JSON.parse(line).id), ["zz-last"]);
      await page.getByRole("button", { name: "Clear" }).click();
      await page.getByRole("link", { name: "zz-last", exact: true }).waitFor();
      await page.getByLabel("Covers room").fill("gala-2");
      await page.getByLabel("Covers account").fill("vip-77");
      await page.getByRole("button", { name: "Search", exact: true }).click();
      await page.waitForURL(/matches_group=gala-2/);
      await settled(page);
      assert.ok((await names()).includes("zz-last"));
      assert.ok(!(await names()).includes("gala-vips"), "a rule of another room");
      await goTo(page, shared.demo.console, "/rules?sort=updated");
      assert.equal((await names())[0], "zz-last");
      await page.locator("tbody tr").first().getByText(/updated (now|.* ago)/).waitFor();
      await asConsole(page, "DELETE", "/v1/rules/zz-last");
    }));

  test("changes several rules together, after a look at what would change", () =>
    asEditor(async (page) => {
      for (const id of ["many-a", "many-b"]) await asConsole(page, "PUT", `/v1/rules/${id}`, { group: "nowhere", account: id, marks: [1000], label: "pair" });
      await goTo(page, shared.demo.console, "/rules?label=pair");
      await page.getByLabel("Select many-a").check();
      await page.getByText("1 rule selected").waitFor();
      await page.getByLabel("Select all on this page").check();
      await page.getByRole("button", { name: "Disable: 2 rules selected" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText("Disable 2 rules?").waitFor();
      await dialog.getByText("0 created, 2 updated, 0 deleted").waitFor();
      assert.equal(await dialog.locator("del").count(), 2);
      await accessible(page, "the dialog of several rules");
      await dialog.getByRole("button", { name: "Disable" }).click();
      await page.locator("tbody tr").filter({ hasText: "disabled" }).nth(1).waitFor();
      await page.getByLabel("Select all on this page").check();
      await page.getByRole("button", { name: "Delete: 2 rules selected" }).click();
      await dialog.getByRole("button", { name: "Delete" }).click();
      await page.getByText("No rules match.").waitFor();
    }));

  test("counts members by state in tabs", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/members");
      const tabs = page.getByRole("navigation", { name: "State" });
      const count = async (name) => Number((await tabs.getByRole("link", { name }).textContent()).replace(/\D/g, ""));
      const all = await count("All");
      assert.equal(all, await count("failed") + await count("pending") + await count("in sync") + await count("not in room"));
      await tabs.getByRole("link", { name: "in sync" }).click();
      await tabs.locator('[aria-current="true"]').getByText("in sync").waitFor();
      assert.match(page.url(), /state=applied/);
    }));

  test("counts live and other rooms in tabs", () =>
    asEditor(async (page) => {
      await asConsole(page, "PUT", "/v1/rules/next-term", { group: "next-term", account: "ann", marks: [1000] });
      await goTo(page, shared.demo.console, "/rooms");
      const tabs = page.getByRole("navigation", { name: "State" });
      // Read at one moment, and again until they agree: Chat may just be asked whether it has the new room.
      const showsAs = (name) => page.waitForFunction((name) => {
        const counts = {};
        for (const tab of document.querySelectorAll('nav[aria-label="State"] a')) {
          counts[tab.textContent.replace(/[\d,.\s]+$/, "").trim()] = Number(tab.textContent.replace(/\D/g, ""));
        }
        return counts.All === counts.live + counts["not in Chat"] && document.querySelectorAll("tbody tr").length === counts[name];
      }, name);
      await showsAs("live");
      await tabs.getByRole("link", { name: "All" }).click();
      await tabs.locator('[aria-current="true"]').getByText("All").waitFor();
      await showsAs("All");
      await asConsole(page, "DELETE", "/v1/rules/next-term");
    }));

  test("shows an hour on request, and the value under the pointer", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/overview");
      const tile = page.getByTestId("overview-queue");
      await tile.locator(".line[d*=L]").waitFor({ state: "attached" });
      const times = await tile.locator(".axis span").allTextContents();
      assert.match(times.join(" "), /\d\d:\d\d:\d\d.*\d\d:\d\d:\d\d/);
      const box = await tile.locator(".spark").boundingBox();
      await page.mouse.move(box.x + box.width - 2, box.y + 10);
      await tile.locator(".under-pointer").filter({ hasText: /\d\d:\d\d:\d\d · \d/ }).waitFor();
      await page.mouse.move(0, 0);
      await page.getByRole("button", { name: "1 hour" }).click();
      await tile.locator(".axis span").first().filter({ hasNotText: times[0] }).waitFor();
    }));

  test("tries a call at once after a repair, and marks the tab on every page until then", () =>
    asEditor(async (page, context) => {
      const { page: stage } = await openPage(context, shared.origin);
      await stage.goto(shared.demo.stage);
      const trouble = async (name) => {
        await stage.locator(`[data-trouble="${name}"]`).click();
        await stage.locator(`[data-trouble="${name}"][aria-pressed="true"]`).waitFor();
      };
      await trouble("plan_ended");
      const teacher = member(stage, "math-7", "teacher-li");
      await teacher.getByRole("button", { name: "Drop teacher-li" }).click();
      await teacher.getByRole("button", { name: "Come back teacher-li" }).click();
      await goTo(page, shared.demo.console, "/overview");
      const banner = page.getByRole("alert");
      await banner.getByText("60020").waitFor();
      await banner.getByRole("button", { name: "Try a call now" }).click();
      await page.getByText("Chat rejected the call again.").waitFor();
      await page.getByRole("button", { name: "中文" }).click();
      await page.getByText("套餐已过期或未付费").first().waitFor();
      await page.getByText("请续费或付清套餐费用").first().waitFor();
      await page.getByRole("button", { name: "English" }).click();
      await goTo(page, shared.demo.console, "/rules");
      await page.locator("[data-tab=overview] .fault").waitFor();
      await trouble("none");
      await goTo(page, shared.demo.console, "/overview");
      await banner.getByRole("button", { name: "Try a call now" }).click();
      await page.getByText("The call succeeded. Calls continue.").waitFor();
      await banner.waitFor({ state: "hidden" });
      await mark(teacher, 1001, "set");
    }, { expected: [] }));

  test("says at once which calls fail and who waits for a retry", () =>
    asEditor(async (page, context) => {
      const { page: stage } = await openPage(context, shared.origin);
      await stage.goto(shared.demo.stage);
      await goTo(page, shared.demo.console, "/overview");
      const health = page.locator(".states");
      // Calls that failed in the test before count for a minute.
      await health.getByText("Reachable").waitFor({ timeout: 90_000 });
      await stage.locator('[data-trouble="bad_gateway"]').click();
      await stage.locator('[data-trouble="bad_gateway"][aria-pressed="true"]').waitFor();
      const teacher = member(stage, "math-7", "teacher-li");
      await teacher.getByRole("button", { name: "Drop teacher-li" }).click();
      await teacher.getByRole("button", { name: "Come back teacher-li" }).click();
      await health.getByText(/calls failed in the last minute/).waitFor();
      await health.getByText(/HTTP status 502/).first().waitFor();
      await health.locator(".warn").filter({ hasText: "Waiting for a retry" }).getByText("1 member").waitFor();
      await page.getByRole("button", { name: "中文" }).click();
      await health.getByText(/最近一分钟 .* 次失败/).waitFor();
      await health.getByText(/返回了 HTTP 状态码 502/).first().waitFor();
      await page.getByRole("button", { name: "English" }).click();
      await stage.locator('[data-trouble="none"]').click();
      await mark(teacher, 1001, "set");
    }));

  test("says errors and reasons in Chinese", () =>
    onPage(shared, { locale: "zh-CN", expected: ["422", "409"] }, async (page) => {
      await signIn(page, shared.demo.console, shared.demo.token);
      await goTo(page, shared.demo.console, "/rules/new");
      await page.locator("[name=group]").fill("a*b");
      await page.locator("[name=account]").fill("x".repeat(65));
      await page.locator("[name=marks]").fill("7, 500");
      await page.getByText("500: IM 在成员断线后仍视其为在线").waitFor();
      await page.getByRole("button", { name: "保存" }).click();
      await page.getByText("* 只能放在末尾").waitFor();
      await page.getByText("账号最长 64 字节，当前 65 字节").waitFor();
      await page.getByText("而不是 7").waitFor();
      // A rule of the demo requires one more mark in every room.
      await page.locator("[name=group]").fill("nowhere");
      await page.locator("[name=account]").fill("a");
      await page.locator("[name=marks]").fill(Array.from({ length: 9 }, (_, n) => 5000 + n).join());
      assert.equal(await page.locator("[name=id]").getAttribute("placeholder"), "nowhere-a");
      await page.getByRole("button", { name: "保存" }).click();
      await page.getByText("已创建 nowhere-a").waitFor();
      await goTo(page, shared.demo.console, "/rules/new");
      await page.locator("[name=group]").fill("nowhere");
      await page.locator("[name=account]").fill("b");
      await page.locator("[name=marks]").fill("5010");
      await page.getByRole("button", { name: "保存" }).click();
      await page.getByText("直播群 nowhere 将需要 11 种标记，上限为 10 种").waitFor();
      await page.getByRole("button", { name: "取消" }).click();
      await goTo(page, shared.demo.console, "/import");
      await page.locator("textarea").fill('[{"id":"a"}]\n{"id":"b","group":"g","account":"a","marks":[7]}');
      await page.getByRole("button", { name: "预览变更" }).click();
      await page.getByText("应为一个 JSON 对象").waitFor();
      assert.equal(await page.locator("main [lang=en]").count(), 0, "English in a Chinese page");
      await asConsole(page, "DELETE", "/v1/rules/nowhere-a");
    }));

  test("shows names beside marks, and asks before it saves a mark without one", () =>
    asEditor(async (page) => {
      await page.route("**/v1/marks", (route) => route.fulfill({ json: { items: [{ mark: 1001, name: "teacher" }] } }));
      await page.reload();
      await goTo(page, shared.demo.console, "/members?account=teacher-li");
      await page.locator(".mark").filter({ hasText: "1001teacher" }).first().waitFor();
      await goTo(page, shared.demo.console, "/rules/new");
      await page.getByLabel("Room", { exact: true }).fill("nowhere");
      await page.getByLabel("Account", { exact: true }).fill("odd");
      await page.getByLabel("Marks", { exact: true }).fill("1001, 1234");
      await page.getByText("1001 teacher, 1234").waitFor();
      await page.getByRole("button", { name: "Save" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText("Save mark 1234 without a name?").waitFor();
      await dialog.getByRole("button", { name: "Save" }).click();
      await page.getByText("Created nowhere-odd.").waitFor();
      await asConsole(page, "DELETE", "/v1/rules/nowhere-odd");
    }));

  test("shows the answer to the latest search, also when an earlier answer comes later", () =>
    asEditor(async (page) => {
      let release;
      const held = new Promise((resolve) => { release = resolve; });
      const all = /\/v1\/rules\?limit=50$/;
      await page.route(all, async (route) => {
        await held;
        await route.continue();
      });
      await page.goto(`${shared.demo.console}#/rules`);
      await page.locator("[name=label]").fill("no-such-label");
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByText("No rules match.").waitFor();
      const late = page.waitForResponse(all);
      release();
      await (await late).finished();
      await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve); }));
      await page.getByText("No rules match.").waitFor();
      assert.equal(await page.locator("tbody tr").count(), 0);
    }));

  test("keeps typed text while another page is shown, the language changes and the session expires", () =>
    asEditor(async (page, context) => {
      const note = page.locator("[name=note]");
      await goTo(page, shared.demo.console, "/rules/new");
      await page.getByLabel("Account", { exact: true }).fill("vip-typed");
      await note.fill("not saved yet");
      await page.getByRole("link", { name: "Members" }).click();
      await page.getByRole("heading", { name: "Members" }).waitFor();
      await page.getByRole("link", { name: "Rules" }).click();
      await page.getByRole("link", { name: "New rule" }).click();
      await page.getByText("Your unsaved changes were restored.").waitFor();
      assert.equal(await note.inputValue(), "not saved yet");
      await page.getByRole("button", { name: "中文" }).click();
      await page.getByRole("heading", { name: "新建规则" }).waitFor();
      assert.equal(await note.inputValue(), "not saved yet");
      await page.getByRole("button", { name: "English" }).click();

      await context.clearCookies();
      // The frame asks for the status now and then, and may notice first.
      await page.getByRole("button", { name: "Save" }).click({ timeout: 3000 }).catch(() => {});
      await page.getByText("Your session has expired.").waitFor();
      await page.getByLabel("Token").fill(shared.demo.token);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("Your unsaved changes were restored.").waitFor();
      assert.equal(await page.getByLabel("Account", { exact: true }).inputValue(), "vip-typed");
      await page.getByRole("button", { name: "Discard" }).click();
      await page.getByText("Your unsaved changes were restored.").waitFor({ state: "hidden" });
      assert.equal(await note.inputValue(), "");

      // Filters that were typed and not applied yet.
      await goTo(page, shared.demo.console, "/rules");
      await page.locator("[name=label]").fill("demo");
      await page.getByRole("button", { name: "中文" }).click();
      await page.getByRole("heading", { name: "规则" }).waitFor();
      assert.equal(await page.locator("[name=label]").inputValue(), "demo");
    }, { expected: ["401"] }));

  test("shows what changed since unsaved changes were typed, before it overwrites that", () =>
    asEditor(async (page) => {
      const path = "/v1/rules/typed";
      await asConsole(page, "PUT", path, { group: "nowhere", account: "a", marks: [1000] });
      await goTo(page, shared.demo.console, "/rules/typed/edit");
      await page.getByLabel("Label", { exact: true }).fill("mine");
      await goTo(page, shared.demo.console, "/rules");
      await asConsole(page, "PATCH", path, { marks: [1001] });
      await goTo(page, shared.demo.console, "/rules/typed/edit");
      await page.getByRole("button", { name: "Save" }).click();
      const conflict = page.getByRole("alert");
      await conflict.getByText("Your changes are not saved.").waitFor();
      assert.match(await conflict.locator(".diff").first().textContent(), /1000.*1001/);
      await page.getByRole("button", { name: "Overwrite with mine" }).click();
      await page.getByText("Saved typed.").waitFor();
      await asConsole(page, "DELETE", path);
    }, { expected: ["412"] }));

  test("greys out the overview while the connection is lost", () =>
    asEditor(async (page) => {
      await goTo(page, shared.demo.console, "/overview");
      await page.locator(".tile .figure").filter({ hasText: /\d/ }).first().waitFor();
      const tick = page.locator(".states .good > .icon").first();
      const colour = () => tick.evaluate((icon) => getComputedStyle(icon).color);
      const green = await colour();
      shared.demo.freeze();
      await page.getByText(/Connection lost\. Reconnecting… Figures as of \d\d:\d\d:\d\d\./).waitFor();
      assert.notEqual(await colour(), green);
      shared.demo.thaw();
      await page.getByText("Connection lost.").waitFor({ state: "hidden" });
      assert.equal(await colour(), green);
    }).finally(shared.demo.thaw));

  test("rejects a viewer's writes and says why", () =>
    inConsole(shared.demo.viewer, async (page) => {
      await goTo(page, shared.demo.console, "/rules");
      await page.getByText("Read-only: sign in with an editor token").waitFor();
      const disable = page.getByRole("button", { name: /^Disable/ }).first();
      assert.equal(await disable.getAttribute("aria-disabled"), "true");
      await goTo(page, shared.demo.console, "/import");
      await page.getByText("Read-only: sign in with an editor token").waitFor();
      // Without the page, as a program of the viewer could.
      const { status } = await asConsole(page, "POST", "/v1/rules", { group: "g", account: "a", marks: [1000] });
      assert.equal(status, 403);
      await settled(page);
    }, { expected: ["403"] }));
}
