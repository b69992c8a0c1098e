// The colours that the reader chose: "light", "dark", or "auto" as the system has them. A classic script, so that it
// runs before anything is painted; look.js changes the choice.
try {
  document.documentElement.dataset.theme = localStorage.getItem("fulmen.theme") ?? "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // a browser that keeps nothing
}
