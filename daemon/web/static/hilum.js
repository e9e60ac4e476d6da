// What every page needs of JavaScript: the form's token on each request, and calm words on a fault.
"use strict";

const token = () => document.querySelector('meta[name="csrf-token"]').content;

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRF-Token"] = token();
  // A part of the page that asks by itself must not keep the session alive.
  if (!event.detail.triggeringEvent) event.detail.headers["X-Background"] = "1";
});

// Say something without taking the focus away; it goes by itself.
window.hilum = {
  token,
  say(text, kind = "note") {
    const line = document.createElement("p");
    line.className = kind;
    line.textContent = text;
    document.getElementById("notices").append(line);
    setTimeout(() => line.remove(), 8000);
  },
};

document.addEventListener("htmx:responseError", (event) => {
  const request = event.detail.xhr;
  if (request.getResponseHeader("HX-Redirect")) return;
  let text = "The service could not do that.";
  try {
    text = JSON.parse(request.responseText).detail || text;
  } catch {
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    text = page.querySelector("main p")?.textContent || text;
  }
  window.hilum.say(text, "problem");
});
document.addEventListener("htmx:sendError", () => {
  window.hilum.say("The service does not answer at the moment.", "problem");
});

// Ask before what cannot be taken back: <form data-confirm="...">
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
