// The policy editor: what holds, what a change would do, and a candidate tried in the shadow or in a few regions.

import * as api from "./api.js";
import { Table, el, text } from "./dom.js";
import { count } from "./format.js";

const EVERY_MS = 5000;
const CHECK_MS = 500; // after the last key
const $ = (id) => document.getElementById(id);

/** The section; the text is the operator's own as soon as it was touched. */
export class Policy {
  #asked = 0;
  #visible = true;
  #version = null;
  #typed = null;

  constructor() {
    new IntersectionObserver(([entry]) => (this.#visible = entry.isIntersecting)).observe($("policy"));
    this.changes = new Table($("changes").querySelector("tbody"), {
      key: (change) => `${change.policy}.${change.key}`,
      empty: "no change against what holds",
      columns: [
        { text: (change) => [change.policy, change.key].filter(Boolean).join(".") },
        { text: (change) => value(change.before), class: "n" },
        { text: (change) => value(change.after), class: "n" },
        { text: (change) => change.meaning, class: "wide words" },
      ],
    });
    this.compared = new Table($("compared").querySelector("tbody"), {
      key: (row) => row.key,
      empty: "no slot was compared yet",
      columns: [
        { text: (row) => row.name },
        { text: (row) => `${figure(row.active)} ${row.unit}`, class: "n" },
        { text: (row) => `${figure(row.candidate)} ${row.unit}`, class: "n" },
        { text: (row) => estimate(row.percent, " %") ?? estimate(row.difference, ""), class: "n" },
        { text: (row) => row.verdict, class: (row) => `verdict ${row.verdict}` },
      ],
    });
    $("policy-text").addEventListener("input", () => {
      clearTimeout(this.#typed);
      this.#typed = setTimeout(() => this.#try(() => this.#check()), CHECK_MS);
    });
    for (const [id, act] of Object.entries({
      "policy-apply": () => this.#apply(),
      "policy-shadow": () => api.policy("shadow", "PUT", this.#sent()),
      "policy-canary": () => api.policy("canary", "PUT", { ...this.#sent(), share: 0.05 }),
      "policy-end": () => this.#end(),
      "policy-back": () => this.#back(),
    })) {
      $(id).addEventListener("click", () => this.#try(act));
    }
  }

  /** Asks for what is new. */
  async update() {
    if (!this.#visible || Date.now() - this.#asked < EVERY_MS) return;
    this.#asked = Date.now();
    const active = await api.policy("");
    await this.#load(active.version?.version ?? 0, active);
    const { shadow, canary } = active;
    $("policy-end").hidden = !shadow && !canary;
    $("trial").hidden = !shadow;
    text($("trial-note"), [shadow && `Shadow: ${shadow.report.summary}`, canary && `Canary in ${canary.regions.join(", ") || "no region with viewers"}: ${canary.report.summary ?? "watched"}`].filter(Boolean).join(" · "));
    if (shadow) this.compared.show(shadow.report.rows);
  }

  async #load(version, active) {
    if (this.#version === version) return;
    const untouched = this.#version === null || $("policy-text").value === this.held;
    this.#version = version;
    this.held = version ? await api.policyText(version) : await api.policyExample();
    if (untouched) {
      $("policy-text").value = this.held;
      await this.#check();
    }
    const names = active.policies.map((policy) => policy.name).join(", ");
    text($("policy-holds"), version ? `Version ${version} holds: ${names}.` : "No file was applied: the defaults hold. The text is an example.");
  }

  async #check() {
    const checked = await api.policy("check", "POST", this.#sent());
    const faults = checked.faults.map((it) => el("li", {}, el("b", {}, `line ${it.line} ${it.key}`), ` ${it.problem}: ${it.remedy}`));
    $("faults").replaceChildren(...faults);
    for (const id of ["policy-apply", "policy-shadow", "policy-canary"]) $(id).disabled = !checked.valid || checked.changes.length === 0;
    this.changes.show(checked.valid ? checked.changes : []);
  }

  async #apply() {
    await api.policy("apply", "POST", { ...this.#sent(), ...(this.#version ? { base: this.#version } : {}) });
    this.held = $("policy-text").value;
  }

  async #end() {
    const active = await api.policy("");
    if (active.shadow) await api.policy("shadow", "DELETE");
    if (active.canary) await api.policy("canary", "DELETE");
  }

  async #back() {
    await api.policy("rollback", "POST", { author: "console" });
    $("policy-text").value = this.held;
  }

  #sent() {
    return { text: $("policy-text").value, author: "console" };
  }

  /** Does it, says what went wrong, and looks again. */
  async #try(act) {
    try {
      await act();
      text($("policy-said"), "");
      this.#asked = 0;
      await this.update();
      await this.#check();
    } catch (fault) {
      text($("policy-said"), fault.message);
    }
  }
}

const value = (it) => (it === null ? "–" : typeof it === "object" ? JSON.stringify(it) : `${it}`);
const figure = (it) => (Math.abs(it) >= 1000 ? count(Math.round(it)) : it.toPrecision(3));
const signed = (it) => `${it < 0 ? "−" : "+"}${figure(Math.abs(it))}`;
const estimate = (it, unit) => it && `${signed(it.mean)}${unit}${it.interval ? ` [${it.interval.map(signed).join(", ")}]` : ""}`;
