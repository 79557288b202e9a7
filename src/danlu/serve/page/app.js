// The page: a conversation, its settings, and two answers side by side.

import { Answer } from "./answer.js";
import { answer, models, Refused, vote, votesKept } from "./client.js";
import { say, speak, toggle } from "./words.js";

const part = (id) => document.getElementById(id);
const NUMBERS = ["temperature", "top_p", "top_k", "repetition_penalty", "max_tokens"];
const KEPT = [...NUMBERS, "system", "seed", "second-temperature"];

let messages = [];
let running = null;
let keeps = false;

const key = () => part("key").value;

function trouble(words) {
  part("trouble").textContent = words || "";
  part("trouble").hidden = !words;
}

function explain(error) {
  if (error.name === "AbortError") return;
  trouble(error.status === 401 ? say("wrongkey") : error instanceof Refused ? error.message : say("lost"));
}

function settings(model, temperature) {
  const body = { model };
  for (const name of NUMBERS) if (part(name).value !== "") body[name] = Number(part(name).value);
  if (temperature !== undefined) body.temperature = temperature;
  if (part("seed").value !== "") body.seed = Number(part("seed").value);
  if (part("probabilities").checked) Object.assign(body, { logprobs: true, top_logprobs: 5 });
  return body;
}

function conversation() {
  const system = part("system").value.trim();
  return [...(system ? [{ role: "system", content: system }] : []), ...messages];
}

async function load() {
  try {
    const found = await models(key());
    for (const list of [part("model"), part("second-model")]) {
      const before = list.value;
      list.replaceChildren(...found.map((one) => new Option(one.id, one.id)));
      if (found.some((one) => one.id === before)) list.value = before;
    }
    keeps = await votesKept(key());
    trouble("");
  } catch (error) {
    explain(error);
  }
}

async function stream(shown, body) {
  try {
    for await (const piece of answer(key(), { ...body, messages: conversation() }, running.signal)) {
      shown.add(piece);
      follow();
    }
  } catch (error) {
    if (error.name === "AbortError") shown.tell(say("stopped"));
    else explain(error);
  } finally {
    shown.done();
  }
}

const follow = () => scrollTo({ top: document.body.scrollHeight });

function said(text) {
  const box = document.createElement("article");
  box.className = "mine";
  const head = document.createElement("h3");
  head.textContent = say("you");
  const body = document.createElement("div");
  body.className = "text";
  body.textContent = text;
  box.append(head, body);
  part("talk").append(box);
}

async function ask(text) {
  part("talk").querySelector(".empty")?.remove();
  for (const bar of document.querySelectorAll(".votes")) bar.remove();
  messages.push({ role: "user", content: text });
  said(text);
  busy(true);
  trouble("");
  const shown = part("probabilities").checked;
  if (part("compare").checked) await both(shown);
  else {
    const one = new Answer(part("talk"), part("model").value, shown);
    await stream(one, settings(part("model").value));
    settle(one, text);
  }
  busy(false);
  follow();
}

// An answer that said nothing leaves no trace: the message can be sent again.
function settle(one, text) {
  if (one.text) messages.push({ role: "assistant", content: one.text });
  else {
    messages.pop();
    part("message").value = text;
  }
}

async function both(shown) {
  const pair = document.createElement("div");
  pair.className = "pair";
  pair.setAttribute("role", "group");
  pair.setAttribute("aria-label", say("answers"));
  part("talk").append(pair);
  const before = conversation();
  const bodies = [
    settings(part("model").value),
    settings(part("second-model").value, Number(part("second-temperature").value)),
  ];
  if (bodies[1].seed !== undefined && bodies[0].model === bodies[1].model) bodies[1].seed += 1;
  const answers = bodies.map((body, place) => new Answer(pair, `${place ? "B" : "A"} · ${body.model}`, shown));
  await Promise.all(answers.map((one, place) => stream(one, bodies[place])));
  if (answers.every((one) => one.text)) judge(before, bodies, answers);
  else settle(answers.find((one) => one.text) || answers[0], messages.at(-1).content);
}

function judge(before, bodies, answers) {
  const bar = document.createElement("div");
  bar.className = "votes";
  const side = (place) => {
    const { model, ...rest } = bodies[place];
    return { model, text: answers[place].text, settings: rest };
  };
  const choose = async (word, place) => {
    for (const button of bar.querySelectorAll("button")) button.disabled = true;
    for (const other of answers) if (other !== answers[place]) other.box.classList.add("lost");
    messages.push({ role: "assistant", content: answers[place].text });
    const note = document.createElement("p");
    note.setAttribute("role", "status");
    bar.append(note);
    if (!keeps) return void (note.textContent = say("unkept"));
    try {
      await vote(key(), { conversation: before, left: side(0), right: side(1), vote: word });
      note.textContent = say("voted");
    } catch (error) {
      explain(error);
    }
  };
  for (const [word, place] of [["left", 0], ["tie", 0], ["neither", 0], ["right", 1]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = say(word);
    button.dataset.vote = word;
    button.addEventListener("click", () => choose(word, place));
    bar.append(button);
  }
  part("talk").append(bar);
}

function busy(now) {
  running = now ? new AbortController() : null;
  part("send").hidden = now;
  part("stop").hidden = !now;
  if (!now) part("message").focus();
}

function fresh() {
  running?.abort();
  messages = [];
  const hint = document.createElement("p");
  hint.className = "empty";
  hint.dataset.say = "empty";
  hint.textContent = say("empty");
  part("talk").replaceChildren(hint);
  trouble("");
}

function grow() {
  const box = part("message");
  box.rows = Math.min(8, box.value.split("\n").length);
}

part("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = part("message").value.trim();
  if (!text || running) return;
  // an unvoted pair: the left answer stands
  if (messages.at(-1)?.role === "user") messages.push({ role: "assistant", content: leftOver() });
  part("message").value = "";
  grow();
  ask(text);
});

const leftOver = () => [...document.querySelectorAll(".pair")].at(-1)?.querySelector(".text").textContent || "";

part("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    part("ask").requestSubmit();
  }
});
part("message").addEventListener("input", grow);
part("stop").addEventListener("click", () => running?.abort());
part("fresh").addEventListener("click", fresh);
part("language").addEventListener("click", toggle);
part("key").addEventListener("change", load);
part("compare").addEventListener("change", (event) => (part("second").hidden = !event.target.checked));
part("settings-toggle").addEventListener("click", (event) => {
  part("settings").hidden = !part("settings").hidden;
  event.target.setAttribute("aria-expanded", String(!part("settings").hidden));
});
for (const name of KEPT) {
  part(name).value = localStorage.getItem(`danlu.${name}`) ?? part(name).value;
  part(name).addEventListener("change", (event) => localStorage.setItem(`danlu.${name}`, event.target.value));
}

speak();
fresh();
load();
