// Whoever types another amount means it: choose it for them. Whoever then chooses a card means that.
const custom = document.getElementById("id_custom");
const choice = document.getElementById("id_amount_custom");
if (custom && choice) {
  custom.addEventListener("input", () => {
    if (custom.value) choice.checked = true;
  });
  choice.addEventListener("change", () => custom.focus());
  for (const card of document.querySelectorAll('input[name="amount"]')) {
    card.addEventListener("change", () => {
      if (card !== choice) custom.value = "";
    });
  }
}
