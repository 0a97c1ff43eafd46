/* Measures a page of `va-search look` in real time and sends it to RECEIVER (benchmarks/look.py). */
(() => {
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

  /** Milliseconds from the beginning of the page's loading to a mark of the page, its `count`th. */
  async function mark(name, count = 1) {
    for (let waited = 0; waited < 60_000; waited += 5) {
      const marks = performance.getEntriesByName(name);
      if (marks.length >= count) return marks[count - 1].startTime;
      await pause(5);
    }
    throw new Error(`no mark ${name}`);
  }

  /** Frames per second in two seconds in which `step(share)` changes the page before each frame. */
  async function rate(step) {
    const moments = [];
    await new Promise((resolve) => {
      const began = performance.now();
      const next = (now) => {
        moments.push(now);
        const share = (performance.now() - began) / 2000;
        if (share >= 1) {
          resolve();
          return;
        }
        step(share);
        requestAnimationFrame(next);
      };
      requestAnimationFrame(next);
    });
    const steps = moments.slice(1).map((now, index) => now - moments[index]);
    steps.sort((left, right) => left - right);
    const mean = (1000 * steps.length) / (moments.at(-1) - moments[0]);
    return { mean, slowest: steps[Math.floor(steps.length * 0.95)] };
  }

  /** Drag the curves from right to left. */
  async function pan() {
    for (let press = 0; press < 3; press++) document.getElementById("zoom-in").click();
    await pause(500);
    const area = document.querySelector("#traces .u-over");
    const box = area.getBoundingClientRect();
    const send = (type, share) => {
      const clientX = box.left + box.width * (0.8 - 0.6 * share);
      const clientY = box.top + box.height / 2;
      const pointer = { pointerId: 1, isPrimary: true, pointerType: "mouse", button: 0, buttons: 1 };
      area.dispatchEvent(new PointerEvent(type, { bubbles: true, clientX, clientY, ...pointer }));
    };
    send("pointerdown", 0);
    const frames = await rate((share) => send("pointermove", share));
    send("pointerup", 1);
    return frames;
  }

  /** Show the curves of all members. */
  async function showMembers() {
    const boxes = [...document.querySelectorAll("#values tbody [data-series]")];
    for (const { dataset } of boxes) {
      const box = document.querySelector(`#values [data-series="${dataset.series}"] input`);
      if (!box || box.checked || box.disabled) continue;
      const count = performance.getEntriesByName("va-recording").length;
      box.click();
      await mark("va-recording", count + 1);
    }
    return document.querySelectorAll("#values tbody input:checked").length;
  }

  async function measure() {
    const measured = { list: await mark("va-list"), first: await mark("va-recording") };
    await pause(1000);
    const scroller = document.getElementById("recordings").parentElement;
    const whole = scroller.scrollHeight - scroller.clientHeight;
    measured.scroll = await rate((share) => {
      scroller.scrollTop = share * whole;
    });
    measured.pan_main = await pan();
    measured.curves = await showMembers();
    const count = performance.getEntriesByName("va-recording").length;
    const before = performance.now();
    document.getElementById("next").click();
    measured.next = (await mark("va-recording", count + 1)) - before;
    measured.pan_all = await pan();
    measured.idle = await rate(() => {});
    return measured;
  }

  const send = (document) =>
    fetch(RECEIVER, { method: "POST", mode: "no-cors", body: JSON.stringify(document) });
  addEventListener("error", (event) => send({ error: event.message }));
  measure().then(send, (error) => send({ error: String(error.stack) }));
})();
