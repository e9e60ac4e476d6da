// A slider and a number field that say the same.
"use strict";

for (const form of document.querySelectorAll("form[data-pair]")) {
  const [range, number] = [form.querySelector("[type=range]"), form.querySelector("[type=number]")];
  range.addEventListener("input", () => { number.value = range.value; });
  number.addEventListener("input", () => { range.value = number.value; });
}
