"""The quickstart notebook runs, and the stop button of a notebook saves as Ctrl-C does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from ray_world import wait_for

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def texts(notebook: Any) -> list[str]:
    """Printed texts and representations under the cells, in their order."""
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return shown


def test_the_notebook_is_committed_with_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    pictures = [o for cell in code for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 2
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    assert "10 trials complete" in "\n".join(texts(notebook))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_notebook_runs_from_import_to_submission(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    committed = [len(cell.get("outputs", [])) > 0 for cell in notebook.cells]
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=1500, resources=resources).execute()
    assert [len(cell.get("outputs", [])) > 0 for cell in notebook.cells] == committed
    shown = "\n".join(texts(notebook))
    assert "10 trials complete (10 trained now, 0 failed)" in shown
    assert "10/10 finished" in shown or "training done" in shown, "the line of progress"
    assert len(list((tmp_path / "quickstart" / "submission").glob("*.csv"))) == 12


SEARCH = """
import va_search as va
space = {
    "sampler": "grid",
    "settings": {
        "features": ["face"], "encoder": "gru", "width": 8, "hidden_size": 8, "head_sizes": [8],
        "segment_length": 20, "epochs": 60,
        "learning_rate": {"choice": [0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008]},
    },
}
store = va.simulate("store", size="tiny", note=lambda text: None)
study = va.run_search(space, store, study="s", home="home", options=va.Options(concurrent=1))
print(study.summary.complete)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_stop_button_saves_and_the_cell_again_goes_on(tmp_path: Path) -> None:
    bank = tmp_path / "home" / "bank" / "s"
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        request = client.execute(SEARCH)
        wait_for(lambda: list(bank.glob("*/trial.json")))
        manager.interrupt_kernel()
        reply = reply_to(client, request)
        assert (reply["status"], reply.get("ename")) == ("error", "Interrupted"), reply
        assert "complete and saved; the same command again goes on" in reply["evalue"]
        assert 1 <= len(list(bank.glob("*/trial.json"))) < 8
        reply = reply_to(client, client.execute(SEARCH))
        assert reply["status"] == "ok", reply
        assert len(list(bank.glob("*/trial.json"))) == 8
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def reply_to(client: Any, request: str) -> dict[str, Any]:
    """The content of the reply to a request; others are passed over."""
    while True:
        message = client.get_shell_msg(timeout=300)
        if message["parent_header"].get("msg_id") == request:
            return dict(message["content"])
