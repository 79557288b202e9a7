// The server's own OpenAI-compatible interface, as this page uses it.

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const headers = (key) => ({ "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) });

async function expect(response) {
  if (response.ok) return response;
  let said = `${response.status} ${response.statusText}`;
  try {
    said = (await response.json()).error.message;
  } catch {
    // not one of the server's own answers: the status has to do
  }
  throw new Refused(said, response.status);
}

export async function models(key) {
  const response = await expect(await fetch("/v1/models", { headers: headers(key) }));
  return (await response.json()).data;
}

export async function votesKept(key) {
  try {
    return (await (await expect(await fetch("/votes", { headers: headers(key) }))).json()).kept !== null;
  } catch {
    return false;
  }
}

export async function vote(key, body) {
  await expect(await fetch("/votes", { method: "POST", headers: headers(key), body: JSON.stringify(body) }));
}

// Yields {text, tokens, finish}: pieces of the answer as they come, tokens with their log-probabilities.
export async function* answer(key, body, signal) {
  const response = await expect(await fetch("/v1/chat/completions", {
    method: "POST", headers: headers(key), body: JSON.stringify({ ...body, stream: true }), signal,
  }));
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(chunk.error.message, 500);
    const choice = chunk.choices[0];
    if (choice) yield { text: choice.delta.content || "", tokens: choice.logprobs?.content || [], finish: choice.finish_reason };
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield line.slice(6);
  }
}
