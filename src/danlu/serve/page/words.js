// What the page says, in two languages. Elements name their words by data-say, data-hint or data-label.

const WORDS = {
  en: {
    skip: "Skip to the message", model: "Model", fresh: "New chat", settings: "Settings", system: "System message",
    temperature: "Temperature", repetition: "Repetition penalty", longest: "Longest answer (tokens)",
    seed: "Seed (empty: any)", key: "API key", probabilities: "Show how likely each token was",
    compare: "Two answers side by side", second: "The second answer", message: "Message", hint: "Ask something",
    send: "Send", stop: "Stop", conversation: "Conversation", you: "You", left: "Left is better",
    right: "Right is better", tie: "Both good", neither: "Neither", voted: "Vote kept", unkept: "Votes are not kept here",
    goon: "Go on with this one", chance: "probability", cut: "cut at the longest answer", stopped: "stopped",
    empty: "Say something to the model. Nothing leaves this machine.", wrongkey: "The server wants its API key: see Settings.",
    lost: "The server does not answer.", answers: "Two answers", answer: "answer", other: "中文",
  },
  zh: {
    skip: "跳到输入框", model: "模型", fresh: "新对话", settings: "设置", system: "系统消息",
    temperature: "温度", repetition: "重复惩罚", longest: "最长回答（词元）",
    seed: "随机种子（空为任意）", key: "API 密钥", probabilities: "显示每个词元的概率",
    compare: "并排显示两个回答", second: "第二个回答", message: "消息", hint: "请输入问题",
    send: "发送", stop: "停止", conversation: "对话", you: "你", left: "左边更好",
    right: "右边更好", tie: "都好", neither: "都不好", voted: "已记录投票", unkept: "此服务器不保存投票",
    goon: "用这个继续", chance: "概率", cut: "达到最长长度", stopped: "已停止",
    empty: "和模型说点什么吧。内容不会离开这台机器。", wrongkey: "服务器需要 API 密钥：请见设置。",
    lost: "服务器没有响应。", answers: "两个回答", answer: "回答", other: "English",
  },
};

let language = localStorage.getItem("danlu.language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export const say = (word) => WORDS[language][word];

export function toggle() {
  language = language === "en" ? "zh" : "en";
  localStorage.setItem("danlu.language", language);
  speak();
}

export function speak() {
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-say]")) part.textContent = say(part.dataset.say);
  for (const part of document.querySelectorAll("[data-hint]")) part.placeholder = say(part.dataset.hint);
  for (const part of document.querySelectorAll("[data-label]")) part.setAttribute("aria-label", say(part.dataset.label));
  const button = document.getElementById("language");
  button.textContent = say("other");
  button.lang = language === "en" ? "zh" : "en";
}
