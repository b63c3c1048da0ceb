// Stage and console in a real browser, beside one demo. The tests run one after the other: they
// share its rooms.

import { after, before, describe } from "node:test";
import { consoleTests } from "./console.mjs";
import { stageTests } from "./stage.mjs";
import { looks } from "./looks.mjs";
import { startBrowser, startDemo } from "./support.mjs";

const shared = {};

before(async () => {
  [shared.demo, shared.browser] = await Promise.all([startDemo(), startBrowser()]);
  shared.origin = new URL(shared.demo.stage).origin;
});

after(async () => {
  await shared.browser?.close();
  await shared.demo?.stop();
});

describe("the stage", () => stageTests(shared));
describe("the console", () => consoleTests(shared));
describe("every page", () => looks(shared));
