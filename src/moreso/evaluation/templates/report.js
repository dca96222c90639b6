// Sorting and filtering of the statements; without it the page shows all of them in order.
const list = document.getElementById("list");
const items = [...list.children];
const [find, verdict, sort, count] = ["find", "verdict", "sort", "count"].map((id) => document.getElementById(id));
function update() {
  const text = find.value.trim().toLowerCase();
  let shown = 0;
  for (const item of items) {
    const fits = item.textContent.toLowerCase().includes(text) && (!verdict.value || item.dataset.verdict === verdict.value);
    item.hidden = !fits;
    shown += fits;
  }
  // A gap that no rows show is empty and comes last.
  const key = (item) => {
    const value = item.dataset[sort.value];
    return sort.value === "place" ? Number(value) : value === "" ? Infinity : -Number(value);
  };
  list.append(...items.toSorted((one, other) => key(one) - key(other)));
  count.textContent = `${shown} ${shown === 1 ? "statement" : "statements"}`;
}
for (const control of [find, verdict, sort]) control.addEventListener("input", update);
const controls = document.getElementById("controls");
controls.addEventListener("submit", (event) => event.preventDefault());
controls.hidden = false;
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
