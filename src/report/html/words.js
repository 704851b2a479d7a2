"use strict";
// Figures as the terminal writes them, and elements that hold text: what a test chose goes in by textContent alone.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function bytes(count) {
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) { count /= 1024; unit += 1; }
  return `${count >= 100 || unit === 0 || Number.isInteger(count) ? Math.round(count) : count.toFixed(1)} ${UNITS[unit]}`;
}

function time(ms) {
  const whole = Math.floor(ms / 1000);
  if (ms < 100) return `${ms.toFixed(1)}ms`;
  if (ms < 1000) return `${Math.round(ms)}ms`;
  if (whole < 100) return `${(ms / 1000).toFixed(2)}s`;
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${two(Math.floor(whole / 60) % 60)}m`;
}

// element("td", "c-name", "text", child, ...)
function element(name, classes, ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  for (const child of children) if (child !== null && child !== undefined) made.append(child);
  return made;
}

function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

// What an attempt came to: its letter, its colour and that of a text on it (variables of the style sheet), its pattern, and
// a word.
const CAME = {
  pass: { letter: "", colour: "--pass", on: "--on-soft", pattern: null, word: "passed" },
  fail: { letter: "×", colour: "--fail", on: "--on-bar", pattern: "cross", word: "failed" },
  retried: { letter: "R", colour: "--flaky", on: "--on-soft", pattern: "steep", word: "failed, tried again" },
  evicted: { letter: "E", colour: "--evicted", on: "--on-soft", pattern: "dots", word: "evicted, runs again" },
  leak: { letter: "L", colour: "--leak", on: "--on-bar", pattern: "flat", word: "leaked" },
  infra: { letter: "I", colour: "--infra", on: "--on-bar", pattern: "flat", word: "failed by its environment" },
  unseen: { letter: "?", colour: "--soft", on: "--on-bar", pattern: "flat", word: "sandtest did not see how it ended" },
  running: { letter: "…", colour: "--soft", on: "--on-bar", pattern: "steep", word: "had not ended" },
};

const STATES = [
  { letter: "G", colour: "--green", name: "GREEN", word: "free" },
  { letter: "Y", colour: "--yellow", name: "YELLOW", word: "holding starts" },
  { letter: "O", colour: "--orange", name: "ORANGE", word: "freezing" },
  { letter: "R", colour: "--red", name: "RED", word: "evicting" },
];
