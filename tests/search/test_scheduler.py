"""A search without Ray: what is handed out, what counts, what stops it; real files, real second
processes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loop_world import callback_of, finish, loop_of, take

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import remove_folder, write_json
from va_search.home import Home
from va_search.search import proposals as proposals_module
from va_search.search.budget import NOTED_SECONDS
from va_search.search.events import (
    Capacity,
    Died,
    Done,
    Failed,
    FoundNoMemory,
    Idle,
    MachineFailed,
    Ready,
    Recovered,
    Refused,
)
from va_search.search.failures import IN_A_ROW, SAME_REASON, Outage
from va_search.search.loop import Loop
from va_search.search.outcomes import Credit
from va_search.search.preview import make_preview
from va_search.search.scheduler import KILLED, Scheduler, Surroundings
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.summary import Unfinished, progress_of, summary_of
from va_search.search.trial_queue import LOSSES
from va_search.storage.homes import Need, RemoteHome
from va_search.storage.remote import Remote
from va_search.trial import Failure
from va_search.trial_settings import TrialSettings

SPACE = """sampler: {sampler}
objective: {objective}
budget: {{trials: {trials}}}
folds: {folds}
settings:
  features: [face]
  encoder: gru
  epochs: 6
  learning_rate: {{choice: {rates}}}
"""

Make = Callable[..., Scheduler]


@pytest.fixture
def make(tmp_path: Path, tiny_store: Store) -> Make:
    def scheduler(
        study: str = "s",
        rates: str = "[0.1, 0.2, 0.3, 0.4]",
        trials: int = 4,
        sampler: str = "grid",
        folds: str = "[official]",
        objective: str = "score",
        credit: Credit | None = None,
        copy: RemoteHome | None = None,
    ) -> Scheduler:
        file = tmp_path / "space.yaml"
        file.write_text(
            SPACE.format(
                rates=rates, trials=trials, sampler=sampler, folds=folds, objective=objective
            )
        )
        space = load_space(file, tiny_store)
        named = Study(Home(tmp_path / "home"), study)
        named.begin(tiny_store, space.document)
        return Scheduler(
            named, space, tiny_store, surroundings=Surroundings(credit=credit, shared=copy)
        )

    return scheduler


def test_the_budget_bounds_what_is_handed_out(make: Make) -> None:
    scheduler = make(trials=3)
    trials = {take(scheduler) for _ in range(3)}
    assert len(trials) == 3
    assert scheduler.ask() is None and not scheduler.waiting


def test_a_second_run_goes_on_with_what_is_open(make: Make) -> None:
    first = make()
    done, open_one = take(first), take(first)
    finish(first, done)
    first.claims.release_all()
    second = make()
    assert second.results.finished == {done}
    assert take(second) == open_one
    rest = {take(second), take(second)}
    assert done not in rest and second.ask() is None


def test_a_line_cut_by_a_kill_does_not_hurt(make: Make) -> None:
    first = make()
    trial = take(first)
    first.claims.release_all()
    with open(first.study.folder / "asked.jsonl", "a") as ledger:
        ledger.write('{"trial": "12')
    second = make()
    assert take(second) == trial
    finish(second, trial)
    with open(first.study.folder / "asked.jsonl", "a") as ledger:
        ledger.write('{"trial": "12')
    third = make()
    assert take(third) in {
        asked.id for asked in third.study.asked()
    }  # not written onto the cut line


def test_a_trial_is_noted_with_the_choices_it_comes_from_and_an_older_line_still_opens(
    make: Make,
) -> None:
    first = make(folds="[0, 1]")
    drawn = first.ask()
    assert drawn is not None
    ledger = first.study.folder / "asked.jsonl"
    entry = json.loads(ledger.read_text())
    assert entry["configuration"] == {
        "features": ["face"], "encoder": "gru", "epochs": 6, "learning_rate": 0.1,
    }  # fmt: skip
    assert entry["settings"]["learning_rate"] == 0.1 and entry["settings"]["fold"] == 0
    del entry["configuration"]
    ledger.write_text(json.dumps(entry) + "\n")
    first.claims.release_all()
    assert take(make(folds="[0, 1]")) == drawn[0]


def test_the_choices_a_trial_comes_from_are_known_after_it_was_resumed(
    make: Make, tmp_path: Path, tiny_store: Store
) -> None:
    """On the official split `averaged_epochs` have no effect: its settings don't show them."""
    file = tmp_path / "space.yaml"
    text = SPACE.format(
        sampler="grid",
        trials=4,
        objective="score",
        rates="[0.1]",
        folds="[official, train_val_mix]",
    )
    file.write_text(f"{text}  averaged_epochs: {{choice: [[1, 2], [3, 5]]}}\n")
    space = load_space(file, tiny_store)
    study = make().study

    def begin() -> Scheduler:
        return Scheduler(study, space, tiny_store)

    _, chosen = space.configurations()
    official, mix = space.trials(chosen)
    first = begin()
    study.ask(first.trial_id(official), official.model_dump(mode="json"), chosen)
    for _ in range(2):
        again = begin()
        assert take(again) == again.trial_id(official)  # and is noted once more
        again.claims.release_all()
    last = begin()
    assert [take(last), take(last)] == [last.trial_id(official), last.trial_id(mix)]


def test_another_studys_trial_is_adopted_not_trained(make: Make) -> None:
    first = make("one")
    trial = take(first)
    finish(first, trial, 0.7)
    second = make("two")
    handed_out = [take(second) for _ in range(3)]
    assert trial not in handed_out and second.ask() is None
    assert second.results.adopted == 1 and trial in second.results.finished
    record = second.study.bank.trial("two", trial)
    assert (record.study, record.trained_in) == ("two", "one")
    here, there = (
        second.study.bank.folder(study, trial) / "validation.arrow" for study in ("one", "two")
    )
    assert here.stat().st_ino == there.stat().st_ino  # no second copy on the disk


def test_where_one_studys_files_are_damaged_anothers_are_adopted(make: Make) -> None:
    first = make("one")
    trial = take(first)
    finish(first, trial, 0.7)
    bank = first.study.bank
    assert bank.adopt("other", trial, source="one", link=False)
    (bank.folder("one", trial) / "validation.arrow").write_bytes(b"damaged")
    third = make("third")
    assert trial not in [take(third) for _ in range(3)]
    assert bank.trial("third", trial).trained_in == "other"


def test_a_trial_adopted_at_a_url_is_put_there_once(make: Make, tmp_path: Path) -> None:
    first = make("one")
    trial = take(first)
    finish(first, trial)
    copy = RemoteHome(first.study.home, Remote(f"file://{tmp_path}/far"))
    second = make("two", copy=copy)
    copy.merge(Need.WEIGHTS)
    time.sleep(1.1)  # times at a URL are whole seconds
    assert [take(second) for _ in range(3)] and second.ask() is None and second.results.adopted == 1
    before = copy.remote.list("bank")
    assert f"bank/two/{trial}/trial.json" in before
    time.sleep(1.1)
    copy.merge(Need.WEIGHTS)
    assert copy.remote.list("bank") == before


def test_a_trial_stopped_early_is_adopted_only_where_trials_are_stopped_early(make: Make) -> None:
    first = make("one")
    trial = take(first)
    finish(first, trial)
    record = dataclasses.replace(first.study.bank.trial("one", trial), stopped=True)
    write_json(first.study.bank.folder("one", trial) / "trial.json", record.to_json())
    assert take(make("two")) == trial


def test_what_another_process_is_training_is_left_to_it(make: Make) -> None:
    first = make("one")
    trial = take(
        first
    )  # claimed by this process; flock is per open file, so the same process stands for another
    second = make("two")
    handed_out = []
    for _ in range(8):
        drawn = second.ask()
        if drawn is not None:
            handed_out.append(drawn[0])
    assert len(handed_out) == 3 and trial not in handed_out
    assert second.waiting
    finish(first, trial)
    assert second.ask() is None
    assert trial in second.results.finished and not second.waiting


def test_a_dead_process_holds_no_claim(make: Make, tmp_path: Path) -> None:
    scheduler = make()
    trial = take(scheduler)
    scheduler.claims.release_all()
    folder = str(tmp_path / "home" / "claims")
    code = (
        "import os; from pathlib import Path; from va_search.search.saves import Claims\n"
        f"assert Claims(Path({folder!r})).take({trial!r}); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert take(make()) == trial


def test_failures_are_kept_and_tried_again_by_the_next_run_only(make: Make) -> None:
    scheduler = make()
    failed = take(scheduler)
    scheduler.tell(Failed(failed, "Traceback …\nValueError: nope\n"))
    rest = {take(scheduler) for _ in range(3)}
    assert failed not in rest and scheduler.ask() is None
    assert scheduler.study.failures()[0].failure.traceback.endswith("ValueError: nope\n")
    scheduler.claims.release_all()
    again = make()
    trial = take(again)
    assert trial == failed
    finish(again, trial)
    assert again.study.failures() == []


def test_one_reason_for_all_failures_stops_but_only_then(make: Make) -> None:
    scheduler = make(rates="[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]", trials=6)
    for number in range(SAME_REASON):
        assert scheduler.hopeless is None
        scheduler.tell(Failed(take(scheduler), f"Traceback {number}\nOSError: no such store"))
    assert (
        scheduler.hopeless
        == f"all {SAME_REASON} trials failed for one reason: OSError: no such store"
    )
    assert scheduler.ask() is None and not scheduler.waiting

    mixed = make("mixed", rates="[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]", trials=6)
    finish(mixed, take(mixed))
    for _ in range(SAME_REASON):
        mixed.tell(Failed(take(mixed), "OSError: no such store"))
    assert mixed.hopeless is None and mixed.ask() is not None


def test_what_fails_again_as_before_does_not_keep_a_study_from_going_on(make: Make) -> None:
    rates = "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]"
    scheduler = make(rates=rates, trials=SAME_REASON)
    for _ in range(SAME_REASON):
        scheduler.tell(Failed(take(scheduler), "Diverged: the loss became nan in epoch 3"))
    scheduler.claims.release_all()

    again = make(rates=rates, trials=SAME_REASON + 1)
    for _ in range(SAME_REASON):
        again.tell(Failed(take(again), "Diverged: the loss became nan in epoch 4"))
    assert again.hopeless is None and again.results.failures.total() == SAME_REASON
    finish(again, take(again))
    again.claims.release_all()

    elsewhere = make(rates=rates, trials=6)
    for _ in range(SAME_REASON):
        # For another reason than before: it counts.
        elsewhere.tell(Failed(take(elsewhere), "OSError: no such store"))
    assert elsewhere.hopeless is not None


def test_a_trial_whose_end_cannot_be_kept_ends_the_search_and_the_next_begins_with_it(
    make: Make,
) -> None:
    """Tune would take the exception for the trial's own and train it again."""
    scheduler = make()
    trial = take(scheduler)
    failures = scheduler.study.folder / "failures"
    failures.write_text("a file where a folder must be")
    ended = SimpleNamespace(
        trial_id="1", last_result={"failed": "OSError: no"}, config={"trial": trial}
    )
    callback_of(scheduler).on_trial_complete(0, [], ended)
    assert scheduler.stopping and "failures" in str(scheduler.hopeless)
    assert scheduler.ask() is None
    scheduler.claims.release_all()
    failures.unlink()
    assert take(make()) == trial


def test_a_trial_that_cannot_be_noted_between_two_waves_ends_the_search(make: Make) -> None:
    scheduler = make(trials=3)
    ledger = scheduler.study.folder / "asked.jsonl"
    loop = loop_of(scheduler)

    def wave(loop: Loop) -> None:
        finish(scheduler, take(scheduler))
        ledger.rename(ledger.with_name("kept.jsonl"))
        ledger.mkdir()

    loop._next, loop._backend.train = scheduler.ask(), wave  # type: ignore[method-assign]
    loop.run()
    assert scheduler.stopping and "asked.jsonl" in str(scheduler.hopeless)


def test_a_death_whose_cause_cannot_be_read_ends_the_search(make: Make, tmp_path: Path) -> None:
    scheduler = make()
    trial = take(scheduler)
    log = tmp_path / "error.txt"
    log.write_text("failure of the machine: {cut off")
    died = SimpleNamespace(trial_id="1", last_result=None, config={"trial": trial}, error_file=log)
    callback_of(scheduler).on_trial_error(0, [], died)
    assert scheduler.stopping and "JSONDecodeError" in str(scheduler.hopeless)
    assert not scheduler.results.failures


def test_a_full_disk_stops_at_once_whatever_was_finished_before(make: Make) -> None:
    scheduler = make()
    finish(scheduler, take(scheduler))
    scheduler.tell(
        MachineFailed(
            (take(scheduler),), Outage("disk", "bank/x: no space left on the disk", "Traceback …")
        )
    )
    assert (
        scheduler.hopeless is not None and "bank/x: no space left on the disk" in scheduler.hopeless
    )
    assert scheduler.ask() is None and not scheduler.waiting
    assert scheduler.study.failures() == [] and not scheduler.results.failures


def test_an_interrupt_hands_out_nothing_more(make: Make) -> None:
    scheduler = make()
    take(scheduler)
    scheduler.stop.interrupt()
    assert scheduler.ask() is None


def test_a_narrower_space_keeps_what_lies_in_it(make: Make) -> None:
    first = make()
    for _ in range(4):
        finish(first, take(first))
    narrow = make(rates="[0.3, 0.4, 0.5]", trials=3)
    assert len(narrow.results.finished) == 2
    assert take(narrow) and narrow.ask() is None
    assert len(first.study.bank.trials("s")) == 4


def test_trials_of_another_version_neither_count_nor_stop_a_study(make: Make) -> None:
    first = make()
    unknown_setting, other_meaning = take(first), take(first)
    settings = first.queue.running[other_meaning].model_dump(mode="json")
    unknown = first.queue.running[unknown_setting].model_dump(mode="json") | {
        "forgotten_setting": 1
    }
    finish(first, unknown_setting, settings=unknown)
    first.study.ask("0123456789abcdef", {**settings, "forgotten_setting": 1})
    # The same settings under the id of other training code.
    first.queue.running["fedcba9876543210"] = first.queue.running[other_meaning]
    finish(first, "fedcba9876543210")
    first.claims.release_all()
    second = make()
    assert second.results.finished == set()
    assert {take(second) for _ in range(3)} >= {other_meaning}


def test_a_damaged_record_blocks_nothing_but_its_own_trial(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    first = make()
    trials = [take(first) for _ in range(3)]
    for trial in trials:
        finish(first, trial)
    bank = first.study.bank
    (bank.folder("s", trials[0]) / "trial.json").write_text('{"trial": "')
    (bank.folder("s", trials[1]) / "trial.json").write_text("[]")
    second = make()
    assert second.results.finished == {trials[2]}
    assert take(second) not in trials
    assert second.ask() is None
    for trial in trials[:2]:
        assert f"remove the folder {bank.folder('s', trial)} and search again" in caplog.text


def test_a_damaged_record_of_another_study_is_not_taken_over(make: Make) -> None:
    first = make("s")
    trial = take(first)
    finish(first, trial)
    (first.study.bank.folder("s", trial) / "trial.json").write_text("{")
    first.claims.release_all()
    second = make("other")
    assert trial in {take(second) for _ in range(4)}


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_damaged_study_file_says_what_to_do(make: Make, content: str) -> None:
    path = make().study.folder / "study.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"study\.json.*remove this file and search again"):
        make()
    path.unlink()
    assert take(make())


def test_a_damaged_failure_is_passed_over(make: Make) -> None:
    scheduler = make()
    scheduler.tell(Failed(take(scheduler), "x"))
    (scheduler.study.folder / "failures" / "aa.json").write_text("{")
    (scheduler.study.folder / "failures" / "bb.json").write_text("[]")
    assert len(scheduler.study.failures()) == 1


def test_a_training_that_ends_without_a_trial_in_the_bank_failed(make: Make) -> None:
    scheduler = make()
    scheduler.tell(Done(take(scheduler)))
    assert "bank does not have" in scheduler.study.failures()[0].failure.traceback
    given_up = take(scheduler)
    scheduler.stop.interrupt()
    scheduler.tell(Done(given_up))
    assert len(scheduler.study.failures()) == 1


def test_a_trial_that_lost_its_node_is_handed_out_again_a_few_times_and_not_charged(
    make: Make,
) -> None:
    scheduler = make(rates="[0.1]", trials=1)
    trial = take(scheduler)
    for _ in range(LOSSES):
        scheduler.tell(Died((trial,), "the node went"))
        assert not scheduler.queue.running and scheduler.waiting and not scheduler.results.failures
        assert take(scheduler) == trial
    assert scheduler.queue.recovered == LOSSES and [
        asked.id for asked in scheduler.study.asked()
    ] == [trial]
    scheduler.tell(Died((trial,), "the node went"))
    assert scheduler.ask() is None and not scheduler.waiting and not scheduler.queue.running
    assert scheduler.queue.given_up == {trial: "the node went"} and not scheduler.results.failures


def test_reasons_that_differ_in_numbers_alone_are_one(make: Make) -> None:
    scheduler = make()
    for number in range(SAME_REASON):
        scheduler.tell(
            Failed(
                take(scheduler),
                f"ActorDiedError: actor 6f{number}ab died, pid={number + 70}, {number}.5 GB",
            )
        )
    assert (
        scheduler.hopeless is not None and f"all {SAME_REASON} trials failed" in scheduler.hopeless
    )


def test_the_time_is_noted_as_it_goes_not_at_the_end_alone(make: Make) -> None:
    scheduler = make()
    scheduler.budget._started -= 100
    finish(scheduler, take(scheduler))
    assert scheduler.study.document()["seconds"] == 0, "not for each trial"
    scheduler.budget._noted_at -= NOTED_SECONDS
    scheduler.accrue()
    assert 100 <= scheduler.study.document()["seconds"] < 110
    scheduler.budget.note_time()
    assert 100 <= scheduler.study.document()["seconds"] < 110


def test_progress_counts(make: Make) -> None:
    scheduler = make()
    finish(scheduler, take(scheduler), 0.25)
    scheduler.tell(Failed(take(scheduler), "x"))
    take(scheduler)
    progress = progress_of(scheduler)
    assert (progress.planned, progress.finished, progress.running, progress.failed) == (4, 1, 1, 1)
    assert progress.best["valence"] == 0.25


def test_trials_too_short_to_tell_the_time_left_do_not_tell_it(make: Make) -> None:
    budget = make().budget
    budget.planned = 8
    assert budget.seconds_left(1, [10.0], 2) == pytest.approx(35.0)
    assert budget.seconds_left(1, [0.02], 2) is None
    # Later the clock does: four trials in forty seconds, ridge regressions of hardly any time.
    budget._started -= 40
    assert budget.seconds_left(4, [0.02] * 4, 2) == pytest.approx(40.0, rel=0.1)


def test_time_is_a_budget_too(make: Make, tmp_path: Path) -> None:
    scheduler = make()
    file = tmp_path / "space.yaml"
    file.write_text(file.read_text().replace("{trials: 4}", "{hours: 0.5}"))
    timed = Scheduler(
        scheduler.study,
        load_space(file, scheduler.store),
        scheduler.store,
        surroundings=Surroundings(spent=1800),
    )
    assert timed.budget.exhausted is not None and timed.ask() is None and not timed.waiting


def test_a_store_that_changed_is_refused_by_name(make: Make) -> None:
    scheduler = make()
    document = scheduler.study.document()
    document["hashes"]["feature set face"] = "0" * 64
    write_json(scheduler.study.folder / "study.json", document)
    with pytest.raises(InputError, match="feature set face changed since study 's' began"):
        make()


def test_unknown_studies_are_answered_with_the_known(make: Make) -> None:
    scheduler = make("first")
    with pytest.raises(InputError, match=r"unknown study 'frist'; did you mean 'first'\?"):
        Study(scheduler.study.home, "frist").document()


def test_the_reason_is_the_last_line() -> None:
    assert Failure("Traceback\n  File x\nValueError: a\n\n").reason == "ValueError: a"
    assert Failure("").reason == "unknown"


def test_trial_ids_follow_the_data(make: Make) -> None:
    scheduler = make()
    settings = TrialSettings(features=("face",), encoder="gru")
    other = TrialSettings(features=("voice",), encoder="gru")
    assert scheduler.trial_id(settings) != scheduler.trial_id(other)


def test_a_failed_fold_is_tried_again_alone(make: Make) -> None:
    first = make(folds="all", rates="[0.1]")
    folds = {}
    for _ in range(len(first.space.folds)):
        trial = take(first)
        folds[trial] = first.queue.running[trial].fold
        if len(folds) == 2:
            first.tell(Failed(trial, "Traceback …\nOutOfMemoryError: no"))
            failed = trial
        else:
            finish(first, trial)
    assert len(folds) >= 2 and set(folds.values()) == set(first.space.folds)
    assert first.ask() is None
    second = make(folds="all", rates="[0.1]")
    assert len(second.results.finished) == len(folds) - 1
    assert take(second) == failed
    finish(second, failed)
    assert second.ask() is None and second.study.failures() == []


def test_a_fold_whose_entry_was_removed_is_trained_again_alone(make: Make, tmp_path: Path) -> None:
    first = make(folds="all", rates="[0.1]")
    trials = [take(first) for _ in first.space.folds]
    for trial in trials:
        finish(first, trial)
    (tmp_path / "home" / "bank" / "s" / trials[1] / "trial.json").unlink()
    second = make(folds="all", rates="[0.1]")
    assert take(second) == trials[1] and second.ask() is None


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_configuration_that_was_cut_off_gets_its_other_folds_first(
    make: Make, sampler: str
) -> None:
    first = make(folds="all", trials=1, sampler=sampler)
    each = first.space.trials_each
    assert progress_of(first).planned == each  # the budget's end is that of a configuration
    finish(first, take(first))
    first.claims.release_all()
    second = make(folds="all", trials=1, sampler=sampler)
    found = []
    for _ in range(each - 1):
        found.append(take(second))
        finish(second, found[-1])
    assert second.ask() is None
    documents = [
        second.study.bank.trial("s", trial).settings_json for trial in second.results.finished
    ]
    assert {document["learning_rate"] for document in documents} == {documents[0]["learning_rate"]}
    assert {document["fold"] for document in documents} == set(second.space.folds)


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_trials_without_validation_count_and_rank_nothing(make: Make, sampler: str) -> None:
    first = make(folds="[train_val_mix]", sampler=sampler)
    for _ in range(4):
        finish(first, take(first))
    assert first.ask() is None
    progress = progress_of(first)
    assert (progress.finished, progress.best) == (4, {})
    second = make(folds="[train_val_mix]", sampler=sampler)
    assert len(second.results.finished) == 4 and second.ask() is None


def test_folds_made_anew_are_refused_under_a_study(make: Make) -> None:
    scheduler = make()
    document = scheduler.study.document()
    document["hashes"]["folds"] = "0" * 64
    write_json(scheduler.study.folder / "study.json", document)
    store = dataclasses.replace(scheduler.store, folds_hash="1" * 64)
    with pytest.raises(InputError, match="folds changed since study 's' began"):
        scheduler.study.begin(store, scheduler.space.document)


def test_a_search_for_both_tells_and_resumes_with_two_values(make: Make) -> None:
    first = make(sampler="tpe", objective="both")
    done = take(first)
    finish(first, done, 0.7)
    first.claims.release_all()
    second = make(sampler="tpe", objective="both")
    for scheduler in (first, second):
        assert scheduler.proposals._sampler is not None
        told = [
            trial.values
            for trial in scheduler.proposals._sampler.study.trials
            if trial.state.is_finished()
        ]
        assert told == [[0.7, 0.7]]
    assert take(second) != done


def test_a_search_for_an_ensemble_tells_credits_and_resumes_with_them(make: Make) -> None:
    def credit(trials: Any) -> dict[tuple[str, str], float]:
        known.update(trials)
        return {name: 0.1 for name in trials} if len(known) >= 3 else {}

    def told(scheduler: Scheduler) -> list[float]:
        assert scheduler.proposals._sampler is not None
        return sorted(
            trial.values[0]
            for trial in scheduler.proposals._sampler.study.trials
            if trial.state.is_finished()
        )

    known: set[tuple[str, str]] = set()
    first = make(sampler="tpe", objective="ensemble", credit=credit)
    for value in (0.6, 0.5, 0.4):
        assert value == 0.4 or told(first) == sorted({0.6: [], 0.5: [0.6]}[value])
        finish(first, take(first), value)
    assert told(first) == pytest.approx([0.104, 0.105, 0.106])
    first.claims.release_all()
    known.clear()
    second = make(sampler="tpe", objective="ensemble", credit=credit)
    assert told(second) == pytest.approx([0.104, 0.105, 0.106])
    assert {study for study, _ in known} == {"s"}


MANY = str([round(0.001 * number, 3) for number in range(1, 41)])


def outage(kind: Any = "gpu", reason: str = "on n1: CUDA error") -> Outage:
    return Outage(kind, reason, "Traceback …")


@pytest.mark.parametrize("kind", ["store", "files", "gpu"])
def test_the_machines_failures_in_a_row_stop_the_study_and_charge_nobody(
    make: Make, kind: str
) -> None:
    scheduler = make(rates=MANY, trials=40, sampler="tpe")
    finish(scheduler, take(scheduler))
    trials = []
    for number in range(SAME_REASON):
        assert scheduler.hopeless is None, number
        trials.append(take(scheduler))
        scheduler.tell(MachineFailed((trials[-1],), outage(kind, f"on n1: {kind} is broken")))
    assert scheduler.hopeless is not None and f"on n1: {kind} is broken" in scheduler.hopeless
    assert scheduler.ask() is None and not scheduler.waiting
    assert (
        scheduler.study.failures() == []
        and not scheduler.results.failures
        and progress_of(scheduler).failed == 0
    )
    assert scheduler.proposals._sampler is not None
    assert all(trial.state.name != "FAIL" for trial in scheduler.proposals._sampler.study.trials)
    scheduler.claims.release_all()

    again = make(rates=MANY, trials=40, sampler="tpe")
    assert [take(again) for _ in trials] == trials


def test_failures_of_the_machine_with_successes_between_hand_trials_out_again(make: Make) -> None:
    scheduler = make(rates=MANY, trials=12)
    trained: list[str] = []
    for number in range(12):
        trial = take(scheduler)
        if number % 2:
            scheduler.tell(MachineFailed((trial,), outage()))
        else:
            finish(scheduler, trial)
            trained.append(trial)
    while (drawn := scheduler.ask()) is not None:
        finish(scheduler, drawn[0])
        trained.append(drawn[0])
    assert len(scheduler.results.finished) == len(set(trained)) == 12 and scheduler.hopeless is None
    assert scheduler.queue.recovered == 6 and not scheduler.results.failures


def test_other_kinds_in_between_are_no_row(make: Make) -> None:
    scheduler = make(rates=MANY, trials=40)
    for kind in ("gpu", "store", "gpu", "files", "gpu", "gpu"):
        scheduler.tell(MachineFailed((take(scheduler),), outage(kind)))
        assert scheduler.hopeless is None
    scheduler.tell(MachineFailed((take(scheduler),), outage("gpu")))
    assert scheduler.hopeless is not None


def test_a_trial_that_the_machine_fails_again_and_again_is_left_to_the_next_search(
    make: Make,
) -> None:
    scheduler = make(rates="[0.1, 0.2, 0.3, 0.4]", trials=4)
    unlucky, *others = [take(scheduler) for _ in range(4)]
    for number in range(LOSSES + 1):
        scheduler.tell(MachineFailed((unlucky,), outage("files", "on n1: Stale file handle")))
        finish(scheduler, others[number])
        assert number == LOSSES or take(scheduler) == unlucky
    assert scheduler.ask() is None and not scheduler.waiting and scheduler.study.failures() == []
    with pytest.raises(Unfinished, match=r"1 trial could not be trained.*Stale file handle"):
        summary_of(scheduler, 0, [], [], None)
    scheduler.claims.release_all()
    assert take(make(rates="[0.1, 0.2, 0.3, 0.4]", trials=4)) == unlucky


def test_everything_that_fails_alike_stops_a_study_that_has_finished_trials_too(make: Make) -> None:
    scheduler = make(rates=MANY, trials=40)
    finish(scheduler, take(scheduler))
    for number in range(IN_A_ROW):
        assert scheduler.hopeless is None, number
        scheduler.tell(
            Failed(
                take(scheduler),
                f"Traceback\nRuntimeError: process {number} has no library to train with",
            )
        )
    assert (
        scheduler.hopeless is not None
        and f"the last {IN_A_ROW} trials failed for one reason" in scheduler.hopeless
    )


def test_one_success_between_them_begins_the_count_anew(make: Make) -> None:
    scheduler = make(rates=MANY, trials=40)
    finish(scheduler, take(scheduler))
    for _ in range(IN_A_ROW - 1):
        scheduler.tell(Failed(take(scheduler), "ValueError: x"))
    finish(scheduler, take(scheduler))
    for _ in range(IN_A_ROW):
        assert scheduler.hopeless is None
        scheduler.tell(Failed(take(scheduler), "ValueError: x"))
    assert scheduler.hopeless is not None


def test_bad_settings_in_a_row_are_no_reason_to_stop(
    make: Make, tmp_path: Path, tiny_store: Store
) -> None:
    """A whole block of a grid diverges, and then another whole block fails for the one value that
    it shares."""
    diverging = make(rates=MANY, trials=40)
    finish(diverging, take(diverging))
    for number in range(2 * IN_A_ROW):
        reason = f"va_search.training.epochs.Diverged: the loss became nan in epoch {number}"
        diverging.tell(Failed(take(diverging), reason))
    assert diverging.hopeless is None

    file = tmp_path / "space.yaml"
    file.write_text(
        file.read_text()
        .replace("encoder: gru", "encoder: {choice: [gru, lstm]}")
        .replace("40}", "80}")
    )
    named = Study(diverging.study.home, "blocks")
    space = load_space(file, tiny_store)
    named.begin(tiny_store, space.document)
    scheduler = Scheduler(named, space, tiny_store)
    gru = 0
    while (drawn := scheduler.ask()) is not None:
        if drawn[1].encoder == "gru":
            finish(scheduler, drawn[0])
            gru += 1
        else:
            scheduler.tell(Failed(drawn[0], "RuntimeError: no kernel for lstm on this device"))
    assert (
        gru + scheduler.results.adopted,
        scheduler.results.failures.total(),
        scheduler.hopeless,
    ) == (
        40,
        40,
        None,
    )


def test_a_trial_without_memory_beside_others_is_tried_by_itself_at_the_end(make: Make) -> None:
    scheduler = make(rates=MANY, trials=5)
    beside, hungry, other = take(scheduler), take(scheduler), take(scheduler)
    scheduler.tell(FoundNoMemory((hungry,), "MemoryError"))
    assert not scheduler.results.failures and hungry not in scheduler.queue.running
    finish(scheduler, beside)
    assert take(scheduler) and take(scheduler)
    rest = [trial for trial in scheduler.queue.running if trial != other]
    assert (
        scheduler.ask() is None and scheduler.waiting
    )  # all are handed out, and the hungry one waits for them
    for trial in [other, *rest]:
        finish(scheduler, trial)
    assert take(scheduler) == hungry
    assert scheduler.ask() is None  # nothing runs beside it
    scheduler.tell(FoundNoMemory((hungry,), "Traceback …\nMemoryError: too large"))
    assert scheduler.results.failures.total() == 1 and scheduler.study.failures()[0].id == hungry
    assert scheduler.ask() is None and not scheduler.waiting


def test_after_a_kill_for_memory_fewer_run_side_by_side(make: Make) -> None:
    scheduler = make(rates=MANY, trials=8)
    running = [take(scheduler) for _ in range(3)]
    scheduler.tell(Died((running[0],), KILLED, for_memory=True))
    assert (
        scheduler.ask() is None and scheduler.waiting
    )  # two run, and two is what the memory bears
    finish(scheduler, running[1])
    again = take(scheduler)
    assert scheduler.ask() is None
    scheduler.tell(Died((again,), KILLED, for_memory=True))
    finish(scheduler, running[2])
    alone = take(scheduler)
    assert scheduler.ask() is None and scheduler.waiting
    finish(scheduler, alone)
    while (drawn := scheduler.ask()) is not None:
        assert len(scheduler.queue.running) == 1
        finish(scheduler, drawn[0])
    assert len(scheduler.results.finished) == 8 and not scheduler.results.failures


def test_one_that_is_killed_for_memory_by_itself_stops_the_study_and_is_not_charged(
    make: Make,
) -> None:
    scheduler = make(rates=MANY, trials=8)
    for _ in range(SAME_REASON):
        assert scheduler.hopeless is None
        scheduler.tell(Died((take(scheduler),), KILLED, for_memory=True))
    assert (
        scheduler.hopeless is not None
        and "memory" in scheduler.hopeless
        and "--concurrent" in scheduler.hopeless
    )
    with pytest.raises(Unfinished, match="stopped early") as caught:
        summary_of(scheduler, 0, [], [], None)
    assert (caught.value.summary.missing, caught.value.summary.reason) == (
        8,
        None,
    ) and not scheduler.results.failures


def test_a_process_that_crashes_again_and_again_is_its_trials_failure(make: Make) -> None:
    scheduler = make(rates="[0.1]", trials=1)
    for _ in range(LOSSES + 1):
        scheduler.tell(Died((take(scheduler),), "SIGSEGV\nthe trial's process died", own=True))
    assert scheduler.results.failures == {"the trial's process died": 1} and scheduler.ask() is None


def test_what_tune_drops_is_handed_out_again_and_missed_if_it_never_ends(make: Make) -> None:
    scheduler = make(rates="[0.1, 0.2]", trials=2)
    first, second = take(scheduler), take(scheduler)
    finish(scheduler, second)
    for _ in range(LOSSES):
        scheduler.tell(Idle())
        assert take(scheduler) == first
    scheduler.tell(Idle())
    assert scheduler.ask() is None and list(scheduler.queue.given_up) == [first]
    with pytest.raises(Unfinished, match="1 trial could not be trained") as caught:
        summary_of(scheduler, 0, [], [], None)
    summary = caught.value.summary
    assert (summary.planned, summary.complete, summary.failed, summary.missing) == (2, 1, 0, 1)


def test_a_search_that_ends_before_all_is_done_says_so(make: Make) -> None:
    scheduler = make(trials=4)
    finish(scheduler, take(scheduler))
    scheduler.tell(Failed(take(scheduler), "ValueError: x"))
    with pytest.raises(Unfinished, match=r"missing: 2 of 4 trials \(complete: 1, failed: 1\)"):
        summary_of(scheduler, 0, [], [], None)


def test_a_search_is_done_when_its_budget_or_its_space_is_at_an_end(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(rates="[0.1, 0.2]", trials=2)
    finish(whole, take(whole))
    whole.tell(Failed(take(whole), "ValueError: x"))
    summary = summary_of(whole, 0, [], [], None)
    assert (summary.complete, summary.failed, summary.missing, summary.reason) == (1, 1, 0, None)

    file = tmp_path / "space.yaml"
    monkeypatch.setattr(proposals_module, "OTHERS", 200)
    rounded = (
        file.read_text()
        .replace("{choice: [0.1, 0.2]}", "{float: [0.1, 0.1002]}")
        .replace("grid", "random")
    )
    file.write_text(rounded.replace("trials: 2", "trials: 20"))
    named = Study(whole.study.home, "few")
    space = load_space(file, whole.store)
    named.begin(whole.store, space.document)
    few = Scheduler(named, space, whole.store)
    while (drawn := few.ask()) is not None:
        finish(few, drawn[0])
    summary = summary_of(few, 0, [], [], None)
    assert summary.complete == 3 and summary.planned == 20
    assert summary.reason == "every configuration of the space was asked for: it has no more"


@pytest.mark.parametrize(
    ("sampler", "finished"),
    [("grid", 0), ("grid", 1), ("grid", 100), ("grid", 101), ("random", 101), ("tpe", 101)],
)
def test_a_study_goes_on_when_its_budget_grows_and_the_dry_run_lists_that(
    make: Make, sampler: str, finished: int
) -> None:
    rates = str([round(1e-4 * number, 5) for number in range(1, finished + 6)])
    first = make(rates=rates, trials=max(1, finished))
    for _ in range(finished):
        finish(first, take(first))
    for budget in (finished + 2, finished + 4):
        scheduler = make(rates=rates, trials=budget, sampler=sampler)
        preview = make_preview(first.study.home, scheduler.space, first.store, study="s")
        assert preview.to_train == budget - len(scheduler.results.finished)
        trained = []
        while (drawn := scheduler.ask()) is not None:
            finish(scheduler, drawn[0])
            trained.append(drawn[0])
        assert len(scheduler.results.finished) == budget
        assert sampler == "tpe" or [one["trial"] for one in preview.next] == trained
        assert summary_of(scheduler, 0, [], [], None).missing == 0


def test_a_trial_whose_process_died_is_handed_out_before_new_ones(make: Make) -> None:
    scheduler = make(rates=MANY, trials=8)
    first, second = take(scheduler), take(scheduler)
    scheduler.tell(Died((second,), "the trial's process was killed by hand"))
    assert scheduler.waiting and take(scheduler) == second
    assert take(scheduler) not in (first, second)


def test_a_space_whose_trials_are_all_done_but_for_a_damaged_record_is_not_done(make: Make) -> None:
    first = make(rates="[0.1, 0.2]", trials=2)
    trials = [take(first), take(first)]
    for trial in trials:
        finish(first, trial)
    record = first.study.bank.folder("s", trials[0]) / "trial.json"
    record.write_text("{")
    scheduler = make(rates="[0.1, 0.2]", trials=2)
    preview = make_preview(first.study.home, scheduler.space, first.store, study="s")
    assert (preview.complete, preview.to_train, preview.next) == (1, 0, [])
    assert scheduler.ask() is None and scheduler.results.damaged == {trials[0]}
    expected = rf"missing: 1 of 2 trials .*the bank has 1 damaged record; remove {record.parent}, and the same"
    with pytest.raises(Unfinished, match=expected) as caught:
        summary_of(scheduler, 0, [], [], None)
    assert (caught.value.summary.complete, caught.value.summary.missing) == (1, 1)
    remove_folder(record.parent)
    scheduler = make(rates="[0.1, 0.2]", trials=2)
    finish(scheduler, take(scheduler))
    assert scheduler.ask() is None and summary_of(scheduler, 0, [], [], None).missing == 0


def test_a_process_that_trained_several_as_one_died_once(make: Make) -> None:
    scheduler = make()
    group = [take(scheduler) for _ in range(3)]
    finish(scheduler, group[0])
    scheduler.tell(Died(tuple(group[1:]), "the trial's process died"))
    assert (
        scheduler.queue.recovered == 1 and scheduler.queue.left == 2 and not scheduler.queue.running
    )
    again = {take(scheduler) for _ in range(3)}
    assert again >= set(group[1:]) and scheduler.ask() is None


def test_a_node_that_must_not_train_ends_the_search_and_no_trial_fails(make: Make) -> None:
    scheduler = make()
    trial = take(scheduler)
    scheduler.tell(Refused((trial,), "node n2 has another store"))
    assert scheduler.hopeless == "node n2 has another store" and scheduler.cannot_go_on
    assert not scheduler.results.failures and scheduler.ask() is None and not scheduler.waiting
    scheduler.claims.release_all()
    assert take(make()) == trial


def test_what_the_backend_reports_is_seen_in_the_progress(make: Make) -> None:
    scheduler = make()
    scheduler.tell(Ready("one GPU each", 3))
    scheduler.tell(Capacity(1, "waiting for nodes"))
    scheduler.tell(Died((take(scheduler),), "Ray's words\nthe trial's process crashed: SIGSEGV"))
    scheduler.tell(Recovered())
    progress = progress_of(scheduler)
    assert (progress.device, progress.lacks) == ("one GPU each", "waiting for nodes")
    assert scheduler.concurrent == 1 and scheduler.queue.recovered == 2
    assert progress.remarks[0].endswith(": the trial's process crashed: SIGSEGV")


def test_after_a_stop_what_runs_is_left_to_the_next_search(make: Make) -> None:
    scheduler = make()
    trial = take(scheduler)
    scheduler.stop.interrupt()
    scheduler.tell(Idle())
    assert list(scheduler.queue.running) == [trial] and not scheduler.waiting
    scheduler.claims.release_all()
    assert take(make()) == trial
