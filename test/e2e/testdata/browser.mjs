// Looks at the status page in a real Chromium, and prints what it found as JSON.
// node browser.mjs MODULES CHROMIUM URL SCREENSHOTS TOKEN
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [modules, executablePath, url, shots, token] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(shots, { recursive: true });

const found = { violations: [], foreign: [], console: [], dialogs: 0 };
const browser = await puppeteer.launch({
  executablePath, headless: true, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
});

async function open(scheme, script = true) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1100, height: 900 });
  await page.setJavaScriptEnabled(script);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  page.on("request", (r) => { if (new URL(r.url()).origin !== url) found.foreign.push(r.url()); });
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warn") found.console.push(m.text() + " " + m.location().url); });
  page.on("pageerror", (e) => found.console.push(String(e)));
  page.on("dialog", (d) => { found.dialogs++; d.dismiss(); });
  return page;
}

async function check(page, name) {
  await page.screenshot({ path: join(shots, name + ".png"), fullPage: true });
  // The debugger's own world: the page's policy lets no such script in.
  await page.evaluate(axe);
  const result = await page.evaluate("axe.run()");
  for (const v of result.violations) found.violations.push(`${name}: ${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
}

for (const scheme of ["light", "dark"]) {
  let page = await open(scheme);
  await page.goto(url + "/", { waitUntil: "load" });
  await page.waitForFunction(() => document.getElementById("live").textContent === "Live.", { timeout: 15000 });
  if (scheme === "light") {
    await page.screenshot({ path: join(shots, "status.png"), clip: { x: 0, y: 0, width: 1100, height: 900 } });
  }
  await page.evaluate(() => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  await check(page, "status-" + scheme);
  await page.close();

  page = await open(scheme);
  await page.goto(url + "/explain", { waitUntil: "load" });
  await page.type("#token", token);
  await page.$eval("#path", (e) => { e.value = "/orders/<img src=x onerror=alert(1)>"; });
  await Promise.all([page.waitForNavigation(), page.click("button[type=submit]")]);
  await check(page, "explain-" + scheme);
  found.explained = await page.$eval("h2", (e) => e.textContent);
  found.address = page.url();
  found.echoed = (await page.content()).includes(token);
  await page.close();
}

const page = await open("light", false); // without JavaScript
await page.goto(url + "/", { waitUntil: "load" });
await page.screenshot({ path: join(shots, "status-without-javascript.png"), fullPage: true });
found.plain = await page.$$eval("h2", (all) => all.map((e) => e.textContent)).catch(() => null);
found.plainText = (await page.content());
await browser.close();
console.log(JSON.stringify(found));
