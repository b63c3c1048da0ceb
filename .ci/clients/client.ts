// The types of openapi-typescript with openapi-fetch: list, put, patch, import, export, explain.

import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

declare const process: { env: Record<string, string> };

const api = createClient<paths>({ baseUrl: process.env.URL, headers: { Authorization: `Bearer ${process.env.TOKEN}` } });
const expect = (right: boolean, what: unknown) => {
  if (!right) throw new Error(JSON.stringify(what));
};
const path = { id: "ts" };

const put = await api.PUT("/v1/rules/{id}", { params: { path }, body: { group: "class-7", account: "cid", marks: [4294967295] } });
expect(put.data?.marks[0] === 4294967295, put);
const patched = await api.PATCH("/v1/rules/{id}", {
  params: { path, header: { "If-Match": '"1"' } }, body: { marks: [1001] }, headers: { "Content-Type": "application/merge-patch+json" },
});
expect(patched.data?.version === 2, patched);
const page = await api.GET("/v1/rules", { params: { query: { q: "ts", matches_account: "cid" } } });
expect(page.data?.total === 1 && page.data.items[0].id === "ts", page);
const imported = await api.POST("/v1/rules/import", {
  body: '{"id":"ts-2","group":"class-8","account":"cid","marks":[1002]}\n',
  headers: { "Content-Type": "application/x-ndjson" }, bodySerializer: (body) => body,
});
expect(imported.data?.created === 1, imported);
const exported = await api.GET("/v1/rules/export", { parseAs: "text" });
expect(exported.data?.includes("ts-2") === true, exported);
const why = await api.GET("/v1/explain", { params: { query: { group: "class-7", account: "cid" } } });
expect(why.data?.desired[0] === 1001, why);
const wrong = await api.PUT("/v1/rules/{id}", { params: { path }, body: { group: "g", account: "cid", marks: [700] } });
expect(wrong.error?.errors?.[0].code === "invalid-mark", wrong);
