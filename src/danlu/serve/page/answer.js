// One answer on the page: its text as it grows, or its tokens with how likely each was.

import { say } from "./words.js";

const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)} %`;

export class Answer {
  constructor(place, name, shown) {
    this.text = "";
    this.tokens = [];
    this.shown = shown;
    this.box = document.createElement("article");
    this.box.className = "answer";
    this.box.setAttribute("aria-busy", "true");
    const head = document.createElement("h3");
    head.textContent = name;
    this.body = document.createElement("div");
    this.body.className = "text";
    this.note = document.createElement("p");
    this.note.className = "note";
    this.note.hidden = true;
    this.box.append(head, this.body, this.note);
    place.append(this.box);
    if (shown) this.explore();
  }

  add({ text, tokens, finish }) {
    this.text += text;
    this.tokens.push(...tokens);
    if (this.shown) this.draw();
    else this.body.append(text);
    if (finish === "length") this.tell(say("cut"));
  }

  tell(words) {
    this.note.textContent = words;
    this.note.hidden = false;
  }

  done() {
    this.box.removeAttribute("aria-busy");
  }

  // A token may be part of a character: bytes are decoded in a row, and what is not text yet waits for the next one.
  draw() {
    const decoder = new TextDecoder();
    const parts = document.createDocumentFragment();
    let length = 0;
    for (const [place, token] of this.tokens.entries()) {
      const bytes = token.bytes || [];
      let piece = decoder.decode(new Uint8Array(bytes), { stream: true });
      if (length + piece.length > this.text.length) piece = piece.slice(0, this.text.length - length);
      length += piece.length;
      if (!piece && length >= this.text.length) continue;
      const span = document.createElement("span");
      span.className = `token likely-${Math.min(4, Math.floor(5 * Math.exp(token.logprob)))}`;
      span.textContent = piece;
      span.dataset.place = place;
      parts.append(span);
    }
    parts.append(this.text.slice(length));
    this.body.replaceChildren(parts);
  }

  explore() {
    this.body.tabIndex = 0;
    this.body.classList.add("likely");
    this.body.addEventListener("pointerover", (event) => this.point(event.target.closest(".token")));
    this.body.addEventListener("pointerleave", () => this.point(null));
    this.body.addEventListener("blur", () => this.point(null));
    this.body.addEventListener("keydown", (event) => {
      const spans = [...this.body.querySelectorAll(".token")];
      const now = spans.findIndex((span) => span.classList.contains("now"));
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") this.point(null);
      if (!step || !spans.length) return;
      event.preventDefault();
      this.point(spans[Math.max(0, Math.min(spans.length - 1, now + step))]);
    });
  }

  point(span) {
    const about = document.getElementById("about");
    this.body.querySelector(".now")?.classList.remove("now");
    about.hidden = !span;
    if (!span) return;
    span.classList.add("now");
    const token = this.tokens[span.dataset.place];
    const rows = [[token.token, token.logprob], ...(token.top_logprobs || []).map((one) => [one.token, one.logprob])];
    about.replaceChildren(...rows.map(([text, logprob], place) => {
      const row = document.createElement("p");
      if (!place) row.className = "own";
      const name = document.createElement("code");
      name.textContent = JSON.stringify(text).slice(1, -1) || "∅";
      row.append(name, ` ${place ? "" : `${say("chance")} `}${percent(logprob)}`);
      return row;
    }));
    const { left, bottom } = span.getBoundingClientRect();
    about.style.left = `${Math.max(8, Math.min(left, innerWidth - about.offsetWidth - 8))}px`;
    about.style.top = `${bottom + about.offsetHeight + 8 > innerHeight ? bottom - about.offsetHeight - 28 : bottom + 4}px`;
  }
}
