"use strict";
setInterval(async () => {
  const stale = document.getElementById("stale");
  try {
    const answer = await fetch(location.pathname, {cache: "no-store", signal: AbortSignal.timeout(4000)});
    if (!answer.ok) throw new Error("HTTP " + answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    document.getElementById("live").replaceWith(document.adoptNode(fresh));
    stale.hidden = true;
  } catch (error) {
    stale.textContent = "The controller does not answer (" + error.message + "): what you see is old.";
    stale.hidden = false;
  }
}, 5000);
