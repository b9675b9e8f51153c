"use strict";
// Conveniences alone: the page can be read, opened and printed without them.
const all = (selector) => document.querySelectorAll(selector);
if (navigator.clipboard) {
  for (const commands of all("pre.commands")) {
    const button = document.createElement("button");
    const text = commands.textContent;
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(commands.lastElementChild);
        button.textContent = "Selected";
      }
    });
    commands.prepend(button);
  }
}
// A link from a claim leads to its finding: what lies over it goes, and the finding opens.
addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#finding-"]');
  if (!link) return;
  link.closest("[popover]")?.hidePopover();
  document.querySelector(link.getAttribute("href"))?.setAttribute("open", "");
});
// For browsers that print what is closed as closed.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...all("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
