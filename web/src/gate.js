// Asks for the admin token when the scheduler wants one and the page has none, or a wrong one.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);

/** Resolves when a token was given; whether it is right shows with the next call. */
export function askForToken() {
  const gate = $("gate");
  $("gate-why").textContent = api.hasToken()
    ? "The scheduler refused that token."
    : "This scheduler can be reached from other machines, so it asks for its admin token.";
  $("gate-why").classList.toggle("bad", api.hasToken());
  gate.showModal();
  $("token").select();
  return new Promise((given) => {
    gate.oncancel = (event) => event.preventDefault(); // nothing can be shown without it
    gate.onsubmit = (event) => {
      event.preventDefault();
      api.remember($("token").value.trim());
      gate.close();
      given();
    };
  });
}
