// An error beside its field.

import {element, setText} from "./dom.js";

/** Shows `text` below an input that has an id. */
export function mark(input, text) {
  const id = `${input.id}-error`;
  let note = document.getElementById(id);
  if (!note) {
    note = element("p", {id, className: "wrong"});
    (input.closest(".field") ?? input.closest("li")).append(note);
  }
  setText(note, text);
  input.setAttribute("aria-invalid", "true");
  describe(input, [...described(input).filter((one) => one !== id), id]);
}

/** Removes the error. */
export function unmark(input) {
  if (!input.hasAttribute("aria-invalid")) return;
  const id = `${input.id}-error`;
  setText(document.getElementById(id), "");
  input.removeAttribute("aria-invalid");
  describe(input, described(input).filter((one) => one !== id));
}

const described = (input) => (input.getAttribute("aria-describedby") ?? "").split(" ").filter(Boolean);

function describe(input, ids) {
  if (ids.length) input.setAttribute("aria-describedby", ids.join(" "));
  else input.removeAttribute("aria-describedby");
}

/** What is wrong with the text in a number input; empty if nothing is. The endpoint reports its own limits. */
export function numberFault(input) {
  const {badInput, rangeOverflow} = input.validity;
  if (badInput) return "Enter a number.";
  const value = input.valueAsNumber;
  if (Number.isNaN(value)) return "";
  if (input.step !== "any" && !Number.isInteger(value)) return `${value} is not a whole number.`;
  if (input.id === "seed" && rangeOverflow) return "Enter a number with at most 15 digits."; // larger ones lose digits
  return "";
}

/** A message of the API without the name of the field that it is shown below: `width=100: …` becomes `100: …`. */
export function withoutName(message, param) {
  let text = message;
  for (const start of [`${param}: `, `${param}=`]) if (text.startsWith(start)) text = text.slice(start.length);
  if (text.startsWith(`${param} `)) {
    const rest = text.slice(param.length + 1);
    text = /^\d/.test(rest) ? rest : `It ${rest}`;
  }
  return text.charAt(0).toUpperCase() + text.slice(1);
}
