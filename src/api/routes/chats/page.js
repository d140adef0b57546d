// The customer's side of a chat: opens one with the first line, follows its stream, and takes it up again wherever it broke.
"use strict";

const WORDS = {
  en: {
    title: "Chat with us", send: "Send", end: "End the chat", phone: "Call me", number: "Your phone number", text: "Write here",
    waiting: "Please wait, somebody will be with you.", assistant: "You are writing with an automated assistant.",
    person: "You are writing with a person.", ended: "This chat is over. Write to begin another.", broken: "Connecting again…",
    called: "We will call you. Your place in the queue is kept.", who: { customer: "You", assistant: "Assistant", person: "Agent" },
    failed: "That was not sent: ",
  },
  zh: {
    title: "在线客服", send: "发送", end: "结束对话", phone: "给我回电", number: "您的电话号码", text: "请输入",
    waiting: "请稍候，马上为您接入。", assistant: "您正在与自动助手对话。", person: "您正在与人工客服对话。",
    ended: "对话已结束。再次输入即可开始新的对话。", broken: "正在重新连接…", called: "我们会给您回电，您的排队位置已保留。",
    who: { customer: "您", assistant: "助手", person: "客服" }, failed: "发送失败：",
  },
};
const language = (navigator.language || "en").startsWith("zh") ? "zh" : "en";
const words = WORDS[language];
const tenant = location.pathname.split("/")[2];
const base = `/api/v1/tenants/${tenant}/chats`;
const to = new URLSearchParams(location.search).get("to") || "support";
const at = (id) => document.getElementById(id);
const KEPT = `chat/${tenant}`;

let chat = JSON.parse(sessionStorage.getItem(KEPT) || "null");
let seen = 0;
// Counts the streams: one that was given up says nothing more.
let turn = 0;

function tell(text) { at("state").textContent = text; }

function show(line) {
  if (line.line <= seen) return;
  seen = line.line;
  const item = document.createElement("li");
  item.className = line.who;
  const who = document.createElement("small");
  who.textContent = words.who[line.who] || line.who;
  item.append(who, line.text);
  at("lines").append(item);
  item.scrollIntoView();
}

function over(text) {
  turn += 1;
  chat = null;
  sessionStorage.removeItem(KEPT);
  tell(text);
}

async function ask(method, path, body, key) {
  const headers = { "content-type": "application/json" };
  if (chat) headers.authorization = `Bearer ${chat.secret}`;
  if (key) headers["idempotency-key"] = key;
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  const read = text ? JSON.parse(text) : {};
  if (!answer.ok) throw Object.assign(new Error(read.detail || answer.statusText), { status: answer.status });
  return read;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// A line is sent again until its fate is known; the key makes it one line.
async function again(method, path, body) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join("");
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask(method, path, body, key);
    } catch (error) {
      if ((error.status && error.status < 500 && error.status !== 429) || tries >= 10) throw error;
      await pause(500 * (tries + 1));
    }
  }
}

function event(kind, data) {
  if (kind === "line") show(data);
  else if (kind === "state") tell(words[data.state] || "");
  else if (kind === "end") over(words.ended);
}

async function follow() {
  const mine = (turn += 1);
  for (let failures = 0; chat && mine === turn; failures += 1) {
    try {
      const headers = { authorization: `Bearer ${chat.secret}`, "last-event-id": String(seen) };
      const answer = await fetch(`${base}/${chat.chat}/events`, { headers });
      if (answer.status === 404) return over(words.ended);
      if (!answer.ok) throw new Error(answer.statusText);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done || mine !== turn) break;
        failures = 0;
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const field = (name) => block.split("\n").filter((row) => row.startsWith(`${name}:`)).map((row) => row.slice(name.length + 1).trim()).join("\n");
          if (field("data")) event(field("event"), JSON.parse(field("data")));
        }
      }
    } catch (error) {
      console.debug(error);
    }
    if (chat && mine === turn) {
      tell(words.broken);
      await pause(Math.min(5000, 250 * 2 ** Math.min(failures, 5)));
    }
  }
}

async function send(text) {
  if (chat) return again("POST", `/${chat.chat}/lines`, { text });
  at("lines").replaceChildren();
  seen = 0;
  chat = await ask("POST", "", { to, text });
  sessionStorage.setItem(KEPT, JSON.stringify(chat));
  follow();
}

at("form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  const text = at("text").value;
  if (!text.trim()) return;
  at("send").disabled = true;
  try {
    await send(text);
    at("text").value = "";
  } catch (error) {
    tell(words.failed + error.message);
  }
  at("send").disabled = false;
  at("text").focus();
});
at("text").addEventListener("keydown", (pressed) => {
  if (pressed.key !== "Enter" || pressed.shiftKey || pressed.isComposing) return;
  pressed.preventDefault();
  at("form").requestSubmit();
});
at("phone-form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  if (!chat) return;
  try {
    await again("POST", `/${chat.chat}/phone`, { number: at("number").value });
    over(words.called);
  } catch (error) {
    tell(words.failed + error.message);
  }
});
at("end").addEventListener("click", async () => {
  if (!chat) return;
  await again("DELETE", `/${chat.chat}`).catch(() => {});
  over(words.ended);
});

document.documentElement.lang = language;
document.title = words.title;
at("title").textContent = words.title;
for (const id of ["send", "end", "phone"]) at(id).textContent = words[id];
at("number").placeholder = words.number;
at("text").placeholder = words.text;
if (chat) follow();
