// From the queue's `r`: the form for the outcome has the focus.

if (location.hash === "#resolve") document.querySelector("#resolve input[type=radio]")?.focus();
